"""Take the picture of docs/serve.md: the page of `lookalike serve`, with bundled emoji, on two screens.

python docs/make_serve.py [OUT.jpg]
"""

import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
from PIL import Image
from playwright.sync_api import Browser, sync_playwright

import lookalike
from lookalike.cli.main import main as lookalike_job
from lookalike.data.table import Table, write_table
from lookalike.data.transforms import Resize
from lookalike.evaluation.validation_vectors import write_validation_vectors
from lookalike.model import backbones, heads, pooling
from lookalike.model.embedder import build
from lookalike.serve.settings import Settings
from lookalike.serve.start import load_index, make_server, make_service

EMOJI = Path(lookalike.__file__).parent / "sample" / "emoji"
NAMES = {
    "cat": "Mia",
    "dog": "Bruno",
    "bear-face": "Teddy",
    "fox-face": "Fenris",
    "frog-face": "Pepe",
    "hamster-face": "Hazel",
    "koala": "Kobe",
    "monkey-face": "Coco",
    "panda-face": "Bao",
    "penguin": "Pingu",
    "tiger": "Tara",
    "turtle": "new-1",
}
HELD_OUT = "noto.png"
"""The drawing that is looked up; the others are enrolled."""
WIDEST = 1400
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


def main(out: Path) -> None:
    """One JPEG: the desktop, and the phone beside it."""
    import shutil

    chromium = next(path for name in CHROMIUM if (path := shutil.which(name)))
    with tempfile.TemporaryDirectory() as folder, serving(make_index(Path(folder))) as address:
        photos = [make_photo(Path(folder), emoji) for emoji in ("monkey-face", "deer")]
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            desktop = take(browser, address, photos[:1], Path(folder) / "desktop.png", (1100, 860), "light")
            phone = take(browser, address, photos[1:], Path(folder) / "phone.png", (390, 860), "dark")
            browser.close()
    gap = 36
    sheet = Image.new("RGB", (desktop.width + phone.width + gap, desktop.height), "#ffffff")
    sheet.paste(desktop, (0, 0))
    sheet.paste(phone, (desktop.width + gap, 0))
    sheet.thumbnail((WIDEST, WIDEST), Image.Resampling.LANCZOS)
    sheet.save(out, quality=80, optimize=True, progressive=True)


def make_index(folder: Path) -> Path:
    """An index of some emoji by a network that was trained on photos, and a threshold by the other emoji."""
    model = build(backbones.efficientnet_lite0(), pooling.Native(), heads.Identity, 1280, Resize(96)).eval()
    model.save(folder / "model")
    others = [path for path in sorted(EMOJI.iterdir()) if path.name not in NAMES][::2]
    files = [file for path in others for file in sorted(path.glob("*.png"))]
    vectors = model.embed([Image.open(file).convert("RGB") for file in files])
    write_validation_vectors(vectors, [file.parent.name for file in files], model.space, folder / "model")
    rows = [
        (str(file), name, "test")
        for emoji, name in NAMES.items()
        for file in sorted((EMOJI / emoji).glob("*.png"))
        if file.name != HELD_OUT
    ]
    write_table(
        Table(pl.DataFrame(rows, schema=["path", "label", "split"], orient="row"), folder),
        folder / "data",
        {},
    )
    words = [f"model={folder}/model", f"dataset={folder}/data", f"out={folder}/shelter", "engine=sqlite"]
    if lookalike_job(["index", *words, "progress=false"]):
        raise SystemExit(1)
    return folder / "shelter"


def make_photo(folder: Path, emoji: str) -> Path:
    """A drawing, as a photo of a camera."""
    file = folder / f"{emoji}.jpg"
    Image.open(EMOJI / emoji / HELD_OUT).convert("RGB").resize((480, 480), Image.Resampling.LANCZOS).save(
        file
    )
    return file


@contextmanager
def serving(index: Path) -> Iterator[str]:
    """The address of a service."""
    settings = Settings(index, port=0)
    server = make_server(make_service(load_index(index, None, "cpu"), settings), settings)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.05)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
    server.should_exit = True
    thread.join()


def take(
    browser: Browser, address: str, photos: list[Path], file: Path, size: tuple[int, int], scheme: str
) -> Image.Image:
    """What the page shows after photos were chosen."""
    phone = size[0] < 500
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme=scheme,  # type: ignore[arg-type]
        has_touch=phone,
        is_mobile=phone,
        device_scale_factor=2,
    )
    page = context.new_page()
    page.goto(address)
    page.wait_for_selector("body[data-ready]")
    page.set_input_files("#files", photos)
    page.wait_for_selector(".subject")
    page.wait_for_timeout(1000)
    if phone:
        page.locator(".card").evaluate("card => scrollBy(0, card.getBoundingClientRect().top - 72)")
        page.wait_for_timeout(1000)
    page.screenshot(path=file)
    context.close()
    return Image.open(file).convert("RGB")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("serve.jpg"))
