"""Evaluation against its peers: time, memory over the vectors, and whether the numbers are the same.

python benchmarks/evaluate.py [case …] [size=60502] [classes=11316] [dim=512] [threads=2] [repeats=3]
                              [largest=120000] [noise=2.4]

Cases: retrieval (images and classes as in Stanford Online Products), cars (8,131 images of 98 classes),
verification (all pairs), bootstrap, growth, defaults (`lookalike.evaluate(vectors, labels)` against
pytorch-metric-learning's three numbers); by default all. Every measurement runs in a process of its own;
its memory is the peak over that of a process that has imported the same and loaded the vectors.
pytorch-metric-learning and faiss-cpu come with the extra `bench`; open-metric-learning is measured if
OML_PYTHON names a Python that has it.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np

from _common import peak_gib, show

RETRIEVAL = ("recall@1", "recall@10", "recall@100", "precision@1", "precision@5", "precision@10")
FARS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
GROWTH = (15_000, 30_000, 60_000, 120_000)
DEFAULT_SIZES = (8_000, 30_000, 60_000)
DEFAULTS = {
    "size": 60_502,
    "classes": 11_316,
    "dim": 512,
    "threads": 2,
    "repeats": 3,
    "largest": GROWTH[-1],
    "noise": 2.4,
}
Values = dict[str, float]


def write_vectors(folder: Path, size: int, classes: int, dim: int, noise: float) -> Path:
    """Unit vectors around the centre of each class, saved with their labels."""
    rng = np.random.default_rng(0)
    labels = np.concatenate([np.arange(classes), rng.integers(0, classes, size - classes)])
    centres = rng.standard_normal((classes, dim), np.float32)
    vectors = centres[labels] + np.float32(noise) * rng.standard_normal((size, dim), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    target = folder / f"{size}-{classes}"
    target.mkdir()
    np.save(target / "vectors.npy", vectors)
    np.save(target / "labels.npy", labels)
    return target


def of_lookalike(vectors: np.ndarray, labels: np.ndarray) -> Callable[[], Values]:
    """Recall, precision, MAP@R and R-precision by this package."""
    from functools import partial

    from lookalike.metrics.inputs import unit_vectors
    from lookalike.metrics.retrieval import map_at_r, precision_at, r_precision, recall_at
    from lookalike.ranking.rank import Metric, rank_gallery
    from lookalike.ranking.task import RetrievalTask

    metrics: dict[str, Metric] = {"map@r": map_at_r, "r_precision": r_precision}
    for name in RETRIEVAL:
        kind, k = name.split("@")
        metrics[name] = partial({"recall": recall_at, "precision": precision_at}[kind], k=int(k))

    def measure() -> Values:
        sides = RetrievalTask(unit_vectors(vectors), labels)
        found = rank_gallery(sides, metrics, neighbours=0, depth=10, first=100)
        return {name: float(np.nanmean(column)) for name, column in found.columns.items()}

    return measure


def of_defaults(vectors: np.ndarray, labels: np.ndarray) -> Callable[[], Values]:
    """All that the default call measures: retrieval with `map`, verification, and intervals."""
    import lookalike

    lookalike.evaluate(vectors[:200], labels[:200] % 20)  # imports what it needs

    def measure() -> Values:
        result = lookalike.evaluate(vectors, labels)
        return {name: float(result[name]) for name in result}

    return measure


def of_pytorch_metric_learning(vectors: np.ndarray, labels: np.ndarray) -> Callable[[], Values]:
    """Precision@1, MAP@R and R-precision."""
    import torch
    from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

    names = {
        "precision_at_1": "precision@1",
        "mean_average_precision_at_r": "map@r",
        "r_precision": "r_precision",
    }
    calculator = AccuracyCalculator(include=tuple(names), k="max_bin_count", device=torch.device("cpu"))

    def measure() -> Values:
        found = calculator.get_accuracy(torch.from_numpy(vectors), torch.from_numpy(labels))
        return {ours: float(found[theirs]) for theirs, ours in names.items()}

    return measure


def of_open_metric_learning(vectors: np.ndarray, labels: np.ndarray) -> Callable[[], Values]:
    """Recall@k (there cmc); precision@k is divided by min(k, R) there, and so not compared."""
    import torch
    from oml.functional.knn import batched_knn
    from oml.functional.metrics import calc_retrieval_metrics

    def measure() -> Values:
        ids = torch.arange(len(vectors))
        _, retrieved, right = batched_knn(
            embeddings=torch.from_numpy(vectors),
            ids_query=ids,
            ids_gallery=ids,
            labels_gt=torch.from_numpy(labels),
            sequence_ids=None,
            top_n=100,
        )
        found = calc_retrieval_metrics(
            retrieved,
            right,
            cmc_top_k=(1, 10, 100),
            precision_top_k=(1, 5, 10),
            map_top_k=(10,),
            reduce=False,
            verbose=False,
        )
        scored = torch.from_numpy(np.bincount(labels)[labels] > 1)
        return {f"recall@{k}": float(value[scored].float().mean()) for k, value in found["cmc"].items()}

    return measure


def of_faiss(vectors: np.ndarray, labels: np.ndarray) -> Callable[[], Values]:
    """The 100 nearest rows by a flat search, and recall and precision from them."""
    import faiss

    faiss.omp_set_num_threads(int(os.environ["OMP_NUM_THREADS"]))

    def measure() -> Values:
        _, rows = faiss.knn(vectors, vectors, 101, metric=faiss.METRIC_INNER_PRODUCT)
        own = rows == np.arange(len(rows))[:, None]
        own[~own.any(axis=1), -1] = True
        right = (labels[rows] == labels[:, None])[~own].reshape(len(rows), 100)
        right = right[np.bincount(labels)[labels] > 1]
        found = {f"recall@{k}": float(right[:, :k].any(axis=1).mean()) for k in (1, 10, 100)}
        return {**found, **{f"precision@{k}": float(right[:, :k].mean()) for k in (1, 5, 10)}}

    return measure


def of_verification(vectors: np.ndarray, labels: np.ndarray) -> Callable[[], Values]:
    """AUC, equal error rate and true accept rates over all pairs."""
    from lookalike.metrics.inputs import unit_vectors
    from lookalike.metrics.verification import auc, eer, tar_at_far
    from lookalike.ranking.rank import rank_gallery
    from lookalike.ranking.task import RetrievalTask

    def measure() -> Values:
        sides = RetrievalTask(unit_vectors(vectors), labels)
        pairs = rank_gallery(sides, {}, neighbours=0, fars=FARS, crossing=True).pairs
        rates = {f"tar@far={far:g}": tar_at_far(pairs, far, coarse=True).tar for far in FARS}
        return {"auc": auc(pairs), "eer": eer(pairs), **rates}

    return measure


def of_all_scores(vectors: np.ndarray, labels: np.ndarray) -> Callable[[], Values]:
    """The same from every score, sorted: for sizes at which they fit into memory."""
    from lookalike.metrics.inputs import unit_vectors
    from lookalike.metrics.verification import Pairs, auc, eer, tar_at_far

    def measure() -> Values:
        unit = unit_vectors(vectors)
        scores: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
        for row in range(0, len(unit), 512):
            block = unit[row : row + 512].astype(np.float64) @ unit.T.astype(np.float64)
            later = np.arange(len(unit)) > np.arange(row, row + len(block))[:, None]
            same = labels[row : row + 512, None] == labels
            scores[0].append(block[later & same])
            scores[1].append(block[later & ~same])
        pairs = Pairs.from_scores(*map(np.concatenate, scores))
        rates = {f"tar@far={far:g}": tar_at_far(pairs, far, coarse=True).tar for far in FARS}
        return {"auc": auc(pairs), "eer": eer(pairs), **rates}

    return measure


def of_bootstrap(vectors: np.ndarray, labels: np.ndarray) -> Callable[[], Values]:
    """1,000 resamples of ten metrics."""
    from lookalike.metrics.bootstrap import bootstrap_interval

    columns = np.random.default_rng(0).random((len(vectors), 10))

    def measure() -> Values:
        low, high = bootstrap_interval(columns, labels)
        return {"width": float((high - low).mean())}

    return measure


WORK = {
    "lookalike": of_lookalike,
    "default call": of_defaults,
    "pytorch-metric-learning": of_pytorch_metric_learning,
    "open-metric-learning": of_open_metric_learning,
    "faiss flat, k=100": of_faiss,
    "verification": of_verification,
    "every score, sorted": of_all_scores,
    "bootstrap": of_bootstrap,
}


def work(name: str, folder: Path) -> None:
    """One measurement in this process; prints seconds, GiB, values and processor seconds."""
    vectors, labels = np.load(folder / "vectors.npy"), np.load(folder / "labels.npy")
    measured = WORK[name](vectors, labels)
    before, started, processor = peak_gib(), time.perf_counter(), time.process_time()
    values = measured()
    seconds, processor = time.perf_counter() - started, time.process_time() - processor
    print(json.dumps([seconds, peak_gib() - before, values, processor]))


class Measured:
    """Several runs of one measurement, each in a process of its own; None where it cannot run."""

    def __init__(self, name: str, folder: Path, threads: int, repeats: int = 1):
        self.name = name
        python = os.environ.get("OML_PYTHON") if name == "open-metric-learning" else sys.executable
        self.runs: list[tuple[float, float, Values, float]] = []
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        for _ in range(repeats if python else 0):
            command = [str(python), __file__, "--work", name, str(folder)]
            done = subprocess.run(command, capture_output=True, text=True, env=environment)
            if done.returncode:
                print(f"{name}: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
                break
            self.runs.append(tuple(json.loads(done.stdout.splitlines()[-1])))

    @property
    def seconds(self) -> float:
        """The median."""
        return median(run[0] for run in self.runs) if self.runs else float("nan")

    @property
    def processor(self) -> float:
        """The median of the processor seconds, which other processes disturb less."""
        return median(run[3] for run in self.runs) if self.runs else float("nan")

    @property
    def values(self) -> Values:
        """Of the first run."""
        return self.runs[0][2] if self.runs else {}

    def row(self, ours: "Measured") -> list[str]:
        """A line of a table."""
        if not self.runs:
            return [self.name, "not measured", "", "", ""]
        spread = sorted(run[0] for run in self.runs)
        shown = f"{self.seconds:.2f}" + (f" ({spread[0]:.2f} to {spread[-1]:.2f})" if len(spread) > 1 else "")
        gaps = [abs(value - ours.values[key]) for key, value in self.values.items() if key in ours.values]
        gap = f"{max(gaps):.1e}" if gaps and self is not ours else ""
        times = "" if self is ours else f"{self.seconds / ours.seconds:.1f}"
        return [self.name, shown, f"{1024 * max(run[1] for run in self.runs):.0f}", times, gap]


def retrieval(title: str, folder: Path, threads: int, repeats: int) -> Measured:
    """Retrieval by this package and by its peers."""
    ours = Measured("lookalike", folder, threads, repeats)
    peers = ("pytorch-metric-learning", "open-metric-learning", "faiss flat, k=100")
    rows = [ours.row(ours), *(Measured(name, folder, threads).row(ours) for name in peers)]
    columns = ["", "seconds", "added MiB", "times slower than ours", "greatest difference"]
    show(f"{title}, {threads} threads", columns, rows)
    print("\n" + ", ".join(f"{name} {value:.6f}" for name, value in ours.values.items()))
    return ours


def verification(folder: Path, threads: int, repeats: int, retrieved: Measured | None, checked: Path) -> None:
    """All pairs; values are compared with those of all scores at a size at which these fit into memory."""
    ours = Measured("verification", folder, threads, repeats)
    base = retrieved or Measured("lookalike", folder, threads, repeats)
    row = ours.row(ours)
    rows = [[*row[:3], f"{ours.seconds / base.seconds:.2f}"]]
    show(
        f"Verification over all pairs, {threads} threads", ["", "seconds", "added MiB", "of retrieval"], rows
    )
    print("\n" + ", ".join(f"{name} {value:.6f}" for name, value in ours.values.items()))
    small, exact = (
        Measured("verification", checked, threads),
        Measured("every score, sorted", checked, threads),
    )
    gaps = {name: abs(small.values[name] - value) for name, value in exact.values.items()}
    print(f"\nat {checked.name}: " + ", ".join(f"{name} off by {gap:.1e}" for name, gap in gaps.items()))


def defaults(folder: Path, options: dict[str, float], threads: int, repeats: int) -> None:
    """The default call and pytorch-metric-learning, by size."""
    for size in (size for size in DEFAULT_SIZES if size <= options["largest"]):
        target = write_vectors(folder, size, int(size / 5.35), int(options["dim"]), options["noise"])
        ours = Measured("default call", target, threads, repeats)
        peer = Measured("pytorch-metric-learning", target, threads, repeats)
        columns = ["", "seconds", "added MiB", "times slower than ours", "greatest difference"]
        columns += ["processor seconds", "of the peer's"]
        title = f"Default call, {size:,} images of {int(size / 5.35):,} classes, {threads} threads"
        rows = [
            [*each.row(ours), f"{each.processor:.2f}", f"{each.processor / peer.processor:.2f}"]
            for each in (ours, peer)
        ]
        show(title, columns, rows)
        (target / "vectors.npy").unlink()


def growth(folder: Path, options: dict[str, float], threads: int) -> None:
    """Time and memory by size."""
    rows = []
    for size in (size for size in GROWTH if size <= options["largest"]):
        target = write_vectors(folder, size, int(size / 5.35), int(options["dim"]), options["noise"])
        for name in ("lookalike", "verification"):
            found = Measured(name, target, threads)
            seconds, gib, *_ = found.runs[0]
            rows.append(
                [name, f"{size:,}", f"{seconds:.2f}", f"{1e9 * seconds / size**2:.2f}", f"{1024 * gib:.0f}"]
            )
            rows[-1].append(f"{2**30 * gib / size:.0f}")
        (target / "vectors.npy").unlink()
    columns = ["", "images", "seconds", "ns a score", "added MiB", "bytes an image"]
    show(f"Growth, {threads} threads", columns, rows)


def main(arguments: list[str]) -> None:
    """The chosen cases."""
    chosen = {key: float(value) for key, value in (word.split("=") for word in arguments if "=" in word)}
    if unknown := set(chosen) - set(DEFAULTS):
        raise SystemExit(f"unknown: {', '.join(unknown)}; there are {', '.join(DEFAULTS)}")
    options = {**DEFAULTS, **chosen}
    known = ("retrieval", "cars", "verification", "bootstrap", "growth", "defaults")
    cases = [word for word in arguments if "=" not in word] or known
    if unknown := set(cases) - set(known):
        raise SystemExit(f"unknown: {', '.join(unknown)}; cases are {', '.join(known)}")
    threads, repeats, dim = (int(options[name]) for name in ("threads", "repeats", "dim"))
    size, classes = int(options["size"]), int(options["classes"])
    with tempfile.TemporaryDirectory() as name:
        folder, retrieved = Path(name), None
        products = write_vectors(folder, size, classes, dim, options["noise"])
        if "retrieval" in cases:
            retrieved = retrieval(f"{size:,} images of {classes:,} classes", products, threads, repeats)
        if "cars" in cases:
            cars = write_vectors(folder, 8131, 98, dim, 2 * options["noise"])
            retrieval("8,131 images of 98 classes", cars, threads, repeats)
        if "verification" in cases:
            few = min(size, 6000)
            checked = write_vectors(folder, few, few // 6, dim, 0.99 * options["noise"])
            verification(products, threads, repeats, retrieved, checked)
        if "bootstrap" in cases:
            found = Measured("bootstrap", products, threads, repeats)
            rows = [found.row(found)[:3]]
            show("Bootstrap, 1,000 resamples of 10 metrics", ["", "seconds", "added MiB"], rows)
        if "defaults" in cases:
            defaults(folder, options, threads, repeats)
        if "growth" in cases:
            growth(folder, options, threads)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        work(sys.argv[2], Path(sys.argv[3]))
    else:
        main(sys.argv[1:])
