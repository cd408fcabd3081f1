"""Cleaning: errors are planted in real datasets, with a fixed seed, and looked for.

    python benchmarks/clean.py [hashing] [pairs] [copies] [labels] [set=grocery] [set=emoji] [images=N]

- `hashing`: images per second and core, compared with imagehash's pHash. Goal: 3 times as many.
- `pairs`: all pairs within 10 bits among 10⁴, 10⁵ and 10⁶ random 64-bit hashes, 5 % of them with a near copy.
  Goal for 10⁶: 60 seconds on 2 cores, 2 GB.
- `copies`: 5 % near-duplicates (cropped by up to 2 % a side, resized 0.5 to 2 times, brightness ± 10 %, JPEG,
  WebP or PNG) and 2 % leaks made in the same way. Goal: recall and precision of 0.98. Pairs of originals that
  are equal to the pixel are not counted; others are listed as false.
- `labels`: 5 % wrong labels and 5 % of the classes cut in two, in the vectors of EfficientNet-Lite0 with
  ImageNet weights; average precision with a 95 % interval (bootstrap over cases), compared with the cosine to
  class centroids and cleanlab's label quality of out-of-fold probabilities (logistic regression, 3 folds; of
  sets with up to 200 classes).
"""

import io
import random
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl
import torch
from PIL import Image

from _common import data, peak_gib, show
from lookalike.clean.identities import identity_probabilities
from lookalike.clean.judging import folds_of, measure_fits, project_folds
from lookalike.clean.labels import wrong_label_probabilities
from lookalike.clean.spaces import default_judge
from lookalike.data.table import Table
from lookalike.embeddings import embed
from lookalike.prepare.duplicates.copies import find_copies
from lookalike.prepare.duplicates.hamming import hamming_pairs
from lookalike.prepare.duplicates.signatures import perceptual_hashes, read_image, read_signatures

SECTIONS = ("hashing", "pairs", "copies", "labels")
FILTERS = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)
NO_PAIRS = np.empty((0, 2), np.int64)


def main(words: list[str]) -> None:
    keys = [word.split("=", 1) for word in words if "=" in word]
    sets = [value for key, value in keys if key == "set"] or ["grocery", "emoji"]
    images = int(dict(keys).get("images", 10**6))
    sections = [word for word in words if word in SECTIONS] or list(SECTIONS)
    if "hashing" in sections:
        measure_hashing()
    if "pairs" in sections:
        measure_pairs()
    for name in sets:
        table = read_set(name, images)
        if "copies" in sections:
            measure_copies(name, table)
        if "labels" in sections:
            measure_labels(name, table)


def read_set(name: str, images: int) -> Table:
    folder = data(name)
    frame = pl.read_csv(folder / "table.csv", infer_schema_length=None).with_columns(
        pl.col("label").cast(pl.String)
    )
    return Table(frame.head(images), folder)


def measure_hashing() -> None:
    import imagehash

    torch.set_num_threads(1)
    rows = []
    for title, folder, pattern in (
        ("grocery/originals, 348 pixels", data("grocery") / "originals", "*.jpg"),
        ("grocery/images, 208 pixels", data("grocery") / "images", "*.jpg"),
    ):
        files = sorted(folder.rglob(pattern))[:250]
        ours = _rate(lambda files=files: _hash_all(files), len(files))
        theirs = _rate(lambda files=files: [imagehash.phash(Image.open(file)) for file in files], len(files))
        rows.append([title, f"{ours:,.0f}", f"{theirs:,.0f}", f"{ours / theirs:.1f}"])
    show(
        "Hashing: images per second of processor time",
        ["images", "lookalike", "imagehash.phash", "ratio"],
        rows,
    )


def _hash_all(files: list[Path]) -> np.ndarray:
    thumbs = [np.frombuffer(read_image((str(file), None)).thumb, np.uint8) for file in files]
    grey = np.rint(np.stack(thumbs).reshape(-1, 32, 32, 3) @ np.array([0.299, 0.587, 0.114], np.float32))
    return perceptual_hashes(grey)


def _rate(work, count: int) -> float:
    times = []
    for _ in range(3):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return count / min(times)


def measure_pairs() -> None:
    rows = []
    generator = np.random.default_rng(0)
    for count in (10**4, 10**5, 10**6):
        hashes = generator.integers(0, 2**64, count, dtype=np.uint64)
        near = count // 20
        hashes[:near] = hashes[near : 2 * near]
        for _ in range(6):
            hashes[:near] ^= np.uint64(1) << generator.integers(0, 64, near, dtype=np.uint64)
        start, cpu = time.perf_counter(), time.process_time()
        pairs = hamming_pairs(hashes, 10)
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        rows.append([f"{count:,}", f"{len(pairs):,}", f"{seconds:.1f}", f"{cpu:.1f}", f"{peak_gib():.2f}"])
    show("All pairs within 10 bits", ["hashes", "pairs", "seconds", "core seconds", "peak GiB"], rows)


def alter(file: Path, rng: random.Random) -> bytes:
    """A copy as it turns up in datasets."""
    image = Image.open(file).convert("RGB")
    left, top, right, bottom = (rng.uniform(0, 0.02) for _ in range(4))
    width, height = image.size
    image = image.crop(
        (round(left * width), round(top * height), round((1 - right) * width), round((1 - bottom) * height))
    )
    scale = 2 ** rng.uniform(-1, 1)
    image = image.resize(
        (max(8, round(image.width * scale)), max(8, round(image.height * scale))), rng.choice(FILTERS)
    )
    pixels = np.clip(np.asarray(image, float) * rng.uniform(0.9, 1.1), 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, rng.choice(["JPEG", "WEBP", "PNG"]), quality=rng.randint(60, 95))
    return buffer.getvalue()


def measure_copies(name: str, table: Table) -> None:
    rng = random.Random(0)
    count = len(table)
    chosen = rng.sample(range(count), count * 7 // 100)
    kinds = ["near-duplicate" if index < count * 5 // 100 else "leak" for index in range(len(chosen))]
    with tempfile.TemporaryDirectory() as folder:
        paths = [str(table.file(row)) for row in range(count)]
        for index, row in enumerate(chosen):
            file = Path(folder, f"{index}.img")
            file.write_bytes(alter(table.file(row), rng))
            paths.append(str(file))
        planted = Table(pl.DataFrame({"path": paths}))
        start = time.process_time()
        signatures = read_signatures(planted)
        read = time.process_time() - start
        copies = find_copies(planted, signatures)
        seconds = time.process_time() - start
    found = copies.duplicates
    pairs = {tuple(pair) for pair in found.pairs.tolist()}
    truth = {
        kind: {(row, count + index) for index, row in enumerate(chosen) if kinds[index] == kind}
        for kind in set(kinds)
    }
    every = set().union(*truth.values())
    equal = {tuple(pair) for pair, exact in zip(found.pairs.tolist(), found.exact, strict=True) if exact}
    indirect = {pair for pair in pairs - every if max(pair) >= count}  # a copy of an original that has a twin
    false = pairs - every - equal - indirect
    rows = [
        [kind, len(truth[kind]), f"{len(pairs & truth[kind]) / len(truth[kind]):.4f}", "", ""]
        for kind in sorted(truth)
    ]
    precision = len(pairs & every) / max(1, len(pairs & every) + len(false))
    rows.append(["all", len(every), f"{len(pairs & every) / len(every):.4f}", f"{precision:.4f}", len(false)])
    show(
        f"Copies in {name}: {len(paths):,} images, {read:.0f} s to read, {seconds:.0f} s in all (processor)",
        ["planted", "pairs", "recall", "precision", "false pairs"],
        rows,
    )


def measure_labels(name: str, table: Table) -> None:
    model = default_judge()
    embeddings = embed(model, table, progress=False)
    vectors = embeddings.vectors
    codes = np.unique(embeddings.table.labels.astype(str), return_inverse=True)[1]
    rows = _wrong_labels(vectors, codes) + _duplicate_identities(vectors, codes)
    show(
        f"Labels and identities in {name}: {len(codes):,} images, {codes.max() + 1:,} classes",
        ["planted", "method", "average precision", "95 % interval", "shown per true one at recall 0.8"],
        rows,
    )


def _judge(vectors: np.ndarray, codes: np.ndarray):
    spaces = list(project_folds(vectors, codes, folds_of(codes, 0)))
    return spaces, measure_fits(spaces, codes, NO_PAIRS)


def _wrong_labels(vectors: np.ndarray, codes: np.ndarray) -> list[list[object]]:
    generator = np.random.default_rng(0)
    num_classes = int(codes.max()) + 1
    changed = codes.copy()
    rows = generator.permutation(len(codes))[: len(codes) // 20]
    changed[rows] = (codes[rows] + generator.integers(1, num_classes, len(rows))) % num_classes
    is_wrong = changed != codes
    _, fits = _judge(vectors, changed)
    scores = {
        "lookalike": wrong_label_probabilities(fits),
        "centroid cosine": _centroid_margin(vectors, changed),
    }
    if num_classes <= 200:
        scores["cleanlab, out of fold"] = _cleanlab(vectors, changed)
    usable = np.isfinite(scores["lookalike"])
    return [
        _row("wrong label", method, is_wrong[usable], values[usable]) for method, values in scores.items()
    ]


def _centroid_margin(vectors: np.ndarray, codes: np.ndarray) -> np.ndarray:
    sums = np.zeros((codes.max() + 1, vectors.shape[1]))
    np.add.at(sums, codes, vectors)
    similarity = vectors @ _unit(sums).T
    own = np.einsum("nd,nd->n", _unit(sums[codes] - vectors), vectors)
    similarity[np.arange(len(codes)), codes] = -1
    return similarity.max(1) - own


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


def _cleanlab(vectors: np.ndarray, codes: np.ndarray) -> np.ndarray:
    from cleanlab.rank import get_label_quality_scores
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict

    model = LogisticRegression(C=100, max_iter=300)
    probabilities = cross_val_predict(model, vectors, codes, cv=3, method="predict_proba")
    return -get_label_quality_scores(codes, probabilities, method="self_confidence")


def _duplicate_identities(vectors: np.ndarray, codes: np.ndarray) -> list[list[object]]:
    generator = np.random.default_rng(1)
    num_classes = int(codes.max()) + 1
    large = generator.permutation(np.flatnonzero(np.bincount(codes) >= 4))
    changed, truth = codes.copy(), set()
    for number, one in enumerate(large[: max(4, num_classes // 20)].tolist()):
        rows = generator.permutation(np.flatnonzero(codes == one))
        changed[rows[: len(rows) // 2]] = num_classes + number
        truth.add((one, num_classes + number))
    spaces, fits = _judge(vectors, changed)
    candidates, probability = identity_probabilities(fits, spaces, changed, NO_PAIRS, 0)
    sums = np.zeros((changed.max() + 1, vectors.shape[1]))
    np.add.at(sums, changed, vectors)
    one, other = np.triu_indices(len(sums), 1)
    cosine = (_unit(sums) @ _unit(sums).T)[one, other]
    centroids = np.stack([one, other], 1)
    return [
        _row("duplicate identity", method, *_with_missing(pairs, values, truth))
        for method, pairs, values in (
            ("lookalike", candidates.pairs, probability),
            ("centroid cosine", centroids, cosine),
        )
    ]


def _with_missing(pairs: np.ndarray, values: np.ndarray, truth: set) -> tuple[np.ndarray, np.ndarray]:
    """Whether each pair is true, and its score; true pairs that were not proposed come last."""
    listed = [tuple(pair) for pair in pairs.tolist()]
    missing = len(truth - set(listed))
    is_true = np.array([pair in truth for pair in listed] + [True] * missing)
    return is_true, np.concatenate([values, np.full(missing, -np.inf)])


def _row(planted: str, method: str, is_true: np.ndarray, values: np.ndarray) -> list[object]:
    generator = np.random.default_rng(0)
    draws = [
        _average_precision(is_true[rows], values[rows])
        for rows in (generator.integers(0, len(values), len(values)) for _ in range(200))
        if is_true[rows].any()
    ]
    low, high = np.quantile(draws, [0.025, 0.975])
    order = np.argsort(-values, kind="stable")
    hits = np.cumsum(is_true[order])
    needed = int(np.ceil(0.8 * is_true.sum()))
    position = int(np.searchsorted(hits, needed))
    load = (position + 1) / needed if np.isfinite(values[order][position]) else None
    shown = "not reached" if load is None else f"{load:.2f}"
    return [planted, method, f"{_average_precision(is_true, values):.3f}", f"{low:.3f} to {high:.3f}", shown]


def _average_precision(is_true: np.ndarray, values: np.ndarray) -> float:
    order = np.argsort(-values, kind="stable")
    hits = is_true[order]
    return float((np.cumsum(hits) / np.arange(1, len(hits) + 1))[hits].mean())


if __name__ == "__main__":
    main(sys.argv[1:])
