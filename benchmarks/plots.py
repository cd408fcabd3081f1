"""Maps and the report: how long t-SNE takes against scikit-learn's, and a report of 10,000 images.

python benchmarks/plots.py [tsne] [report] [size=10000] [dim=128] [threads=2]

Every measurement runs in a process of its own. The report is of real images (LOOKALIKE_DATA/emoji), whose
vectors are their pixels, so no model is needed; it is timed without its map and with it.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from _common import data, peak_gib, show

DEFAULTS = {"size": 10_000, "dim": 128, "threads": 2}
PIXELS = 16


def random_vectors(size: int, dim: int) -> np.ndarray:
    """Unit vectors around 200 centres."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(200, dim))[np.arange(size) % 200] + rng.normal(size=(size, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def time_ours(size: int, dim: int, threads: int) -> None:
    """Seconds of `lookalike.plots.tsne_map.tsne`, imports apart."""
    import openTSNE  # noqa: F401
    import sklearn.neighbors  # noqa: F401

    from lookalike.plots.tsne_map import tsne

    vectors = random_vectors(size, dim)
    started = time.perf_counter()
    places = tsne(vectors)
    print(time.perf_counter() - started, neighbours_preserved(vectors, places), peak_gib())


def time_sklearn(size: int, dim: int, threads: int) -> None:
    """Seconds of scikit-learn's t-SNE with its defaults, on the same vectors and threads."""
    from sklearn.manifold import TSNE

    vectors = random_vectors(size, dim)
    started = time.perf_counter()
    places = TSNE(perplexity=30, random_state=0, n_jobs=threads).fit_transform(vectors)
    print(time.perf_counter() - started, neighbours_preserved(vectors, places), peak_gib())


def neighbours_preserved(vectors: np.ndarray, places: np.ndarray, k: int = 10, sample: int = 1000) -> float:
    """The share of the `k` nearest of some vectors that are among the `k` nearest on the map."""
    rows = np.random.default_rng(1).permutation(len(vectors))[:sample]
    sets = []
    for points in (vectors, places):
        squared = (points**2).sum(axis=1)
        gaps = squared[rows, None] + squared - 2 * points[rows] @ points.T
        sets.append(np.argpartition(gaps, k + 1, axis=1)[:, : k + 1])
    return float(np.mean([len(np.intersect1d(*pair)) - 1 for pair in zip(*sets, strict=True)]) / k)


def run_case(what: str, *arguments: object, threads: int) -> list[float]:
    """What a case prints in a process of its own."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
    environment = {**os.environ, **dict.fromkeys(names, str(threads))}
    command = [sys.executable, __file__, f"_{what}", *map(str, arguments)]
    found = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return [float(word) for word in found.stdout.split()[-3:]]


def tsne_case(size: int, dim: int, threads: int) -> None:
    """t-SNE against scikit-learn's."""
    cases = {
        name: run_case(what, size, dim, threads, threads=threads)
        for name, what in (("lookalike (openTSNE)", "ours"), ("scikit-learn", "sklearn"))
    }
    slow = cases["scikit-learn"][0]
    rows = [
        [name, f"{seconds:.1f}", f"{slow / seconds:.1f}", f"{share:.3f}", f"{memory:.2f}"]
        for name, (seconds, share, memory) in cases.items()
    ]
    columns = ("t-SNE by", "s", "times faster", "of 10 neighbours kept", "GiB")
    show(f"t-SNE of {size} × {dim}, {threads} threads (goal: 60 s, 2 times faster)", columns, rows)


def evaluation_of(folder: Path, size: int) -> Path:
    """An evaluation folder of real images, whose vectors are their pixels."""
    import polars as pl

    from lookalike.data.images import open_image
    from lookalike.data.table import Table
    from lookalike.embeddings import Embeddings
    from lookalike.evaluation.evaluate import evaluate

    source = data("emoji")
    frame = pl.read_csv(source / "table.csv", infer_schema=False)
    frame = pl.concat([frame] * -(-size // len(frame)))[:size].with_columns(split=pl.lit("test"))
    table = Table(frame, source)
    pixels = np.stack(
        [np.asarray(open_image(table.file(row)).resize((PIXELS, PIXELS))).ravel() for row in range(size)]
    )
    vectors = pixels - pixels.mean(axis=0)
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    found = evaluate(vectors, table.labels)
    embeddings = Embeddings(vectors, table, "pixels")
    replace(found, embeddings=embeddings).save(folder / "evaluation", {"job": "evaluate"})
    return folder / "evaluation"


def time_report(evaluation: str, out: str, map_images: str) -> None:
    """Seconds and megabytes of a report."""
    from lookalike.cli.main import main

    started = time.perf_counter()
    if main(["report", f"evaluation={evaluation}", f"out={out}", f"map_images={map_images}"]):
        raise SystemExit(1)
    print(time.perf_counter() - started, Path(out).stat().st_size / 1e6, peak_gib())


def seconds_to_open(page: Path) -> float | None:
    """Seconds until Chromium has loaded a page and drawn it; None without Chromium."""
    import shutil

    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        return None
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page()
        started = time.perf_counter()
        tab.goto(page.as_uri(), wait_until="load")
        tab.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        seconds = time.perf_counter() - started
        browser.close()
    return seconds


def report_case(size: int, dim: int, threads: int) -> None:
    """The report of an evaluation of so many images, without its map and with it."""
    rows = []
    with tempfile.TemporaryDirectory() as place:
        evaluation = evaluation_of(Path(place), size)
        for name, images in (("no map", 0), ("map of 1,500 images", 1500)):
            page = Path(place) / f"{images}.html"
            seconds, megabytes, memory = run_case("report", evaluation, page, images, threads=threads)
            shown = seconds_to_open(page)
            seen = "–" if shown is None else f"{shown:.2f}"
            rows.append([name, f"{seconds:.1f}", f"{megabytes:.1f}", seen, f"{memory:.2f}"])
    columns = ("report", "s", "MB", "s to open in Chromium", "GiB")
    show(f"Report of {size} images (goal: 60 s without map, 15 MB, 2 s to open)", columns, rows)


CASES: dict[str, Callable[[int, int, int], None]] = {"tsne": tsne_case, "report": report_case}
"""What can be measured: a new case is a function of size, dim and threads, and a line here."""


def main(words: list[str]) -> None:
    """Run the cases that are named; all without a name."""
    values = {key: int(value) for key, _, value in (word.partition("=") for word in words if "=" in word)}
    wanted = [word for word in words if "=" not in word] or list(CASES)
    unknown = [*(set(wanted) - set(CASES)), *(set(values) - set(DEFAULTS))]
    if unknown:
        raise SystemExit(f"{unknown[0]}: cases are {', '.join(CASES)}, keys {', '.join(DEFAULTS)}")
    for name in wanted:
        CASES[name](**{**DEFAULTS, **values})


if __name__ == "__main__":
    if sys.argv[1:2] == ["_report"]:
        time_report(*sys.argv[2:])
    elif sys.argv[1:2] in (["_ours"], ["_sklearn"]):
        {"_ours": time_ours, "_sklearn": time_sklearn}[sys.argv[1]](*map(int, sys.argv[2:]))
    else:
        main(sys.argv[1:])
