"""The contact sheet: its files, and the page in a real Chromium."""

import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from lookalike.cli import main
from lookalike.data.table import Table
from lookalike.errors import LookalikeError
from lookalike.report.sheet import Options, evenly_spaced, select_classes, write_sheet

NAMES = ["zebra 10", "zebra 9", "Äpfel <b>&\"'", "$x//y", "W" * 300]


@pytest.fixture(scope="module")
def sheet(tmp_path_factory):
    """A sheet of classes with 20, 5, 4, 1 and 1 images, the last of which cannot be read."""
    root = tmp_path_factory.mktemp("sheet")
    rows = []
    for place, (name, count) in enumerate(zip(NAMES, (20, 5, 4, 1, 1), strict=True)):
        for number in range(count):
            path = f"photos/{place}/{number} ä#%?.png"
            (root / "photos" / str(place)).mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (30 + number, 20), (60 * place, 12 * number, 128)).save(root / path)
            rows.append((path, name, "test" if place % 2 else "train"))
    (root / rows[-1][0]).write_bytes(b"no picture")
    frame = pl.DataFrame(rows, schema=["path", "label", "split"], orient="row")
    frame.write_parquet(root / "table.parquet")
    code = main.main(["prepare", "sheet", f"dataset={root}", f"out={root / 'out'}", "progress=false"])
    assert code == 0
    return root / "out"


def test_what_is_written(sheet):
    assert sorted(file.name for file in sheet.iterdir()) == [
        "config.yaml",
        "index.html",
        "skipped.csv",
        "thumbs",
    ]
    sizes = [Image.open(file).size for file in sorted((sheet / "thumbs").iterdir())]
    assert sizes == [(448, 336), (448, 224), (448, 112), (448, 112), (448, 112)], "the largest class first"
    page = (sheet / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"(?:src|href)=\"?https?:", page) and str(sheet.parent) not in page
    assert "<b>&" not in page, "names are escaped"
    assert pl.read_csv(sheet / "skipped.csv")["reason"][0].startswith("not a readable image")


def test_which_images_and_classes_are_shown():
    assert evenly_spaced(20, 4).tolist() == [0, 5, 10, 15] and evenly_spaced(3, 12).tolist() == [0, 1, 2]
    sizes = np.array([1, 9, 5, 9])
    assert select_classes(sizes, Options()) == [1, 3, 2, 0]
    some = [select_classes(np.arange(100), Options(classes=10, seed=seed)) for seed in (0, 0, 1)]
    assert some[0] == some[1] != some[2] and len(some[0]) == 10 and some[0] == sorted(some[0], reverse=True)


def test_nothing_that_can_be_read(tmp_path):
    (tmp_path / "a.png").touch()
    table = Table(pl.DataFrame({"path": ["a.png"], "label": ["x"], "split": ["test"]}), tmp_path)
    (tmp_path / "out").mkdir()
    with pytest.raises(LookalikeError, match=r"none of the images could be read; the first: a\.png"):
        write_sheet(table, tmp_path / "out", "x", Options())


@pytest.fixture
def visit(browser, sheet):
    """Open the page; whatever goes wrong or leaves the folder is in the list."""
    pages = []

    def go(width=1280, **options):
        page, trouble = browser.new_page(viewport={"width": width, "height": 800}, **options), []
        pages.append(page)
        page.on("console", lambda message: trouble.append(message.text))
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("request", lambda one: trouble.append(one.url) if not one.url.startswith("file:") else None)
        page.goto((sheet / "index.html").as_uri())
        return page, trouble

    yield go
    for page in pages:
        page.close()


def names_shown(page):
    """Their first words. The inner text of a card that the browser has not yet drawn is empty."""
    return [name.split()[0] for name in page.locator(".card:visible h2").all_text_contents()]


@pytest.mark.browser
def test_classes_are_found_and_ordered(visit):
    page, trouble = visit()
    assert page.locator("#count").inner_text() == "5 classes"
    page.locator("#order").select_option("smallest")
    assert (
        names_shown(page)[-2:] == ["zebra", "zebra"]
        and page.locator(".card h2").last.text_content() == NAMES[0]
    )
    page.locator("#order").select_option("name")
    assert page.locator(".card h2").all_text_contents()[-2:] == ["zebra 9", "zebra 10"], "9 comes before 10"
    page.locator("#find").fill("ÄPF")
    assert names_shown(page) == ["Äpfel"]
    assert page.locator("#count").inner_text() == "1 of 5 classes"
    page.locator("#find").fill("nobody")
    assert page.locator(".empty").is_visible()
    page.locator("#find").fill("")
    page.locator("#split").select_option("test")
    assert names_shown(page) == ["$x//y", "zebra"]
    assert trouble == []


@pytest.mark.browser
def test_an_image_says_which_file_it_is(visit, sheet):
    page, trouble = visit()
    page.locator(".card .shot").first.click()
    dialog = page.locator("dialog")
    assert dialog.locator("h2").inner_text() == NAMES[0]
    assert "20 images, 12 shown" in dialog.inner_text()
    box = dialog.locator(".board").bounding_box()
    side = box["width"] / 4
    dialog.locator(".board").click(position={"x": 1.5 * side, "y": 2.5 * side})
    link = dialog.locator(".path a")
    assert link.inner_text() == "0/15 ä#%?.png", "the tenth of twelve out of twenty"
    assert Path(
        page.evaluate("decodeURIComponent(new URL(document.querySelector('.path a').href).pathname)")
    ) == (sheet.parent / "photos" / "0" / "15 ä#%?.png")
    page.keyboard.press("ArrowRight")
    assert dialog.locator("h2").inner_text() == NAMES[1]
    dialog.locator(".board").click(position={"x": 3.5 * side, "y": 1.5 * side})
    assert dialog.locator(".path a").count() == 0, "there is no image"
    page.keyboard.press("Escape")
    assert not dialog.is_visible() and trouble == []


@pytest.mark.browser
@pytest.mark.parametrize("width", [320, 390])
def test_it_fits_a_narrow_screen(visit, width):
    page, trouble = visit(width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.locator(".card .shot").first.click()
    box = page.locator("dialog").bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= width
    assert trouble == []


@pytest.mark.browser
def test_it_can_be_looked_through_without_script(visit):
    page, trouble = visit(java_script_enabled=False)
    assert page.locator(".card").count() == 5 and not page.locator(".controls").is_visible()
    assert trouble == []
