"""The explorer with many images: how long it takes to write, to open, and each frame while the map moves.

    LOOKALIKE_DATA=… python benchmarks/explore.py [images, 100000 if not given]

The images are the emoji set's, again and again, each time with other vectors; the layout is PCA, since what
is measured is the page. Frames are timed in Chromium without a graphics card.
"""

import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

from _common import data, show
from lookalike.data.table import Table
from lookalike.explore.folder import Options, write_explorer

FRAMES = """async () => {
  const times = [], map = lookalike;
  const frame = () => new Promise(done => requestAnimationFrame(done));
  const step = async (change) => {
    for (let turn = 0; turn < 60; turn++) {
      change(turn);
      const started = performance.now();
      map.paint();
      times.push(performance.now() - started);
      await frame();
    }
    const sorted = times.splice(0).sort((one, other) => one - other);
    return [sorted[30], sorted[57]];
  };
  const pan = await step(turn => { map.view.left += turn < 30 ? 9 : -9; map.view.top += turn % 2 ? 3 : -3; });
  const zoom = await step(() => { map.view.scale *= 1.03; map.view.left -= map.view.width * 0.015; });
  const deep = await step(turn => { map.view.left += turn < 30 ? 9 : -9; });
  return [pan, zoom, deep];
}"""


def set_of(count: int) -> tuple[np.ndarray, Table]:
    """Vectors around 1,000 centres, and images of the emoji set."""
    folder = data("emoji")
    images = pl.read_csv(folder / "table.csv").select("path", "style", "group_name")
    rng = np.random.default_rng(0)
    classes = rng.integers(1000, size=count)
    vectors = rng.normal(size=(1000, 64))[classes] + 0.7 * rng.normal(size=(count, 64))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    frame = images[np.arange(count) % len(images)].with_columns(
        label=pl.Series([f"class {number}" for number in classes]), split=pl.lit("test")
    )
    return vectors.astype(np.float32), Table(frame, folder)


def in_chromium(page: Path) -> list[list[object]]:
    """Seconds to open, and milliseconds of the script for a frame: median and 95th percentile."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        sheet = browser.new_page(viewport={"width": 1280, "height": 800})
        started = time.perf_counter()
        sheet.goto(page.as_uri())
        sheet.wait_for_selector("body[data-ready]")
        opened = time.perf_counter() - started
        sheet.wait_for_timeout(3000)
        frames = sheet.evaluate(FRAMES)
        started = time.perf_counter()
        sheet.locator("#search").fill("class 77")
        sheet.wait_for_selector("#found:not([hidden])")
        searched = time.perf_counter() - started
        browser.close()
    names = ("moving, all in view", "zooming in", "moving, zoomed in")
    return [
        ["open the page", f"{opened:.2f} s"],
        *(
            [f"frame: {name}", f"{low:.1f} ms, {high:.1f} ms"]
            for name, (low, high) in zip(names, frames, strict=True)
        ),
        ["first search", f"{searched:.2f} s"],
    ]


def main() -> None:
    if shutil.which("chromium") is None:
        raise SystemExit("chromium is not installed (Debian: apt-get install chromium)")
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    vectors, table = set_of(count)
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        page = write_explorer(vectors, table, Path(folder) / "map", "bench", Options(layout="pca"))
        took = time.perf_counter() - started
        sheets = sum(file.stat().st_size for file in page.parent.glob("sheets/*"))
        rows = [
            ["write the folder, layout by PCA", f"{took:.0f} s"],
            ["the page", f"{page.stat().st_size / 1e6:.1f} MB"],
            ["sheets beside it", f"{sheets / 1e6:.0f} MB"],
            *in_chromium(page),
        ]
    show(f"Explorer: {count:,} images (goal: a frame in 16.7 ms)", ["what", "median, 95th percentile"], rows)


if __name__ == "__main__":
    main()
