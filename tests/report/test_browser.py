"""The page in a real Chromium: it opens, stays offline, enlarges what is clicked, and fits a phone."""

from io import BytesIO

import pytest
from PIL import Image

from browser_checks import CONTRAST
from lookalike.report.page import Options, write_report
from lookalike.report.read import read_evaluation, read_run

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def file(tmp_path_factory, make_run, make_evaluation):
    root = tmp_path_factory.mktemp("report")
    labels = [f"class {number} <b>&\"'" for number in range(8) for _ in range(4)]
    evaluation = make_evaluation(root, [*labels, "W" * 300], noise=0.5)
    run = make_run(root)
    out = root / "report.html"
    return write_report(read_run(run), read_evaluation(evaluation), out, Options(map_images=40))


@pytest.fixture
def visit(browser, file):
    """Open the page; whatever goes wrong or out is in the list."""

    pages = []

    def go(width=1280, **options):
        page, trouble = browser.new_page(viewport={"width": width, "height": 800}, **options), []
        pages.append(page)
        page.on("console", lambda message: trouble.append(message.text))
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("request", lambda request: trouble.append(request.url) if is_network(request.url) else None)
        page.goto(file.as_uri())
        return page, trouble

    yield go
    for page in pages:
        page.close()


def is_network(url):
    return not url.startswith(("file:", "data:"))


def test_it_opens_without_errors_and_without_the_network(visit):
    page, trouble = visit()
    assert page.title() == "shapes · Lookalike report"
    assert page.locator("main section").count() >= 7
    broken = page.evaluate("[...document.querySelectorAll('main img')].filter(i => !i.naturalWidth).length")
    assert (broken, trouble) == (0, [])


def test_a_click_enlarges_a_neighbour_beside_its_query(visit):
    page, trouble = visit()
    small = page.locator(".hits .shot").first
    width = small.bounding_box()["width"]
    small.click()
    dialog = page.locator("dialog")
    assert dialog.is_visible()
    assert dialog.locator("figure:visible").count() == 2
    assert dialog.locator("img").nth(1).bounding_box()["width"] > 2 * width
    assert dialog.locator("img").nth(1).get_attribute("src") == small.locator("img").get_attribute("src")
    assert "similarity" in dialog.inner_text() and "class" in dialog.inner_text()
    page.keyboard.press("ArrowRight")
    assert dialog.inner_text().count("2. class") == 1
    dialog.get_by_text("Previous").click()
    assert dialog.inner_text().count("1. class") == 1
    page.keyboard.press("Escape")
    assert not dialog.is_visible()
    assert trouble == []


def test_the_map_opens_large_and_the_keyboard_is_enough(visit):
    page, _ = visit()
    page.locator(".enlarge").focus()
    page.keyboard.press("Enter")
    dialog = page.locator("dialog")
    assert dialog.is_visible() and dialog.locator("figure:visible").count() == 1
    dialog.get_by_text("Close").click()
    assert not dialog.is_visible()
    assert page.evaluate("document.activeElement.classList.contains('enlarge')")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_click_on_the_map_shows_that_image(visit, scheme):
    page, trouble = visit(color_scheme=scheme)
    spot = page.locator(".spot").nth(7)
    spot.click()
    dialog = page.locator("dialog")
    assert dialog.is_visible() and dialog.locator("figure:visible").count() == 1
    assert spot.get_attribute("data-caption") in dialog.inner_text()
    assert spot.get_attribute("data-path") in dialog.inner_text()
    assert dialog.locator("img").first.evaluate("image => image.naturalWidth") > 10
    page.keyboard.press("Escape")
    assert not dialog.is_visible() and trouble == []


def test_the_map_has_the_background_of_the_page(visit):
    page, _ = visit(color_scheme="dark")
    page.locator(".spots").scroll_into_view_if_needed()
    picture = Image.open(BytesIO(page.locator(".spots").screenshot())).convert("L")
    assert picture.getpixel((4, 4)) < 60


@pytest.mark.parametrize("width", [320, 390, 768])
def test_it_fits_a_narrow_screen(visit, width):
    page, trouble = visit(width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.locator(".hits .shot").first.click()
    box = page.locator("dialog").bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= width
    assert trouble == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out(visit, scheme):
    page, _ = visit(color_scheme=scheme)
    assert page.evaluate(CONTRAST) == []


def test_it_can_be_read_without_script(visit):
    page, trouble = visit(java_script_enabled=False)
    assert page.locator("h1").inner_text() == "shapes"
    assert not page.locator("dialog").is_visible() and trouble == []
