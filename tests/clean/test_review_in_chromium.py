"""The review page in a real Chromium: keys decide, undo takes back, a reload goes on, a patch is applied."""

import json

import pytest
from playwright import sync_api

import lookalike
from browser_checks import CONTRAST
from lookalike.cli.main import main
from lookalike.data.table import read_table

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def folder(dataset, tmp_path_factory):
    out = tmp_path_factory.mktemp("review") / "out"
    lookalike.clean(dataset[0], dataset[1], out=out)
    return out


@pytest.fixture(scope="module")
def browser(chromium):
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def visit(browser, folder):
    contexts, trouble = [], []

    def go(**options):
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: trouble.append(message.text))
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on(
            "request", lambda request: trouble.append(request.url) if request.url.startswith("http") else None
        )
        page.goto((folder / "review.html").as_uri())
        page.wait_for_selector("#cards li")
        return page

    yield go
    for context in contexts:
        context.close()
    assert not trouble


def heading(page):
    return page.text_content("#heading")


def remaining(page):
    return int(page.text_content("#kinds button:first-child").split()[-1])


def save(page, tmp_path, name="review.jsonl"):
    page.fill("#author", "Ann")
    page.dispatch_event("#author", "change")
    with page.expect_download() as download:
        page.click("#save")
    download.value.save_as(tmp_path / name)
    return [json.loads(line) for line in (tmp_path / name).read_text().splitlines()]


def test_keys_decide_undo_takes_back_and_a_reload_goes_on(visit):
    page = visit()
    total, first = remaining(page), heading(page)
    assert "1 of" in first
    page.keyboard.press("r")
    assert remaining(page) == total - 1
    assert "2 of" in heading(page)
    page.keyboard.press("a")
    page.keyboard.press("s")
    assert remaining(page) == total - 3
    page.keyboard.press("u")
    assert remaining(page) == total - 2
    assert "3 of" in heading(page)
    before = heading(page)
    page.reload()
    page.wait_for_selector("#cards li")
    assert remaining(page) == total - 2
    assert heading(page) == before
    page.keyboard.press("ArrowLeft")
    assert heading(page).endswith("accepted")
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+z")
    assert remaining(page) == total, "undo goes back across the reload"
    assert heading(page) == first
    page.keyboard.press("u")
    assert page.text_content("#said") == "Nothing to undo."


def test_every_picture_is_shown(visit):
    page = visit()
    for _ in range(remaining(page)):
        page.wait_for_timeout(20)
        decode = "image.loading = 'eager', image.decode().then(() => image.naturalWidth)"
        widths = page.evaluate(f"Promise.all([...document.images].map((image) => ({decode})))")
        assert min(widths) > 0
        assert len(widths) == page.locator("#cards li").count()
        page.keyboard.press("ArrowRight")


def test_a_name_is_asked_for_and_an_empty_review_is_not_saved(visit):
    page = visit()
    page.click("#save")
    assert "name" in page.text_content("#said")
    page.fill("#author", "Ann")
    page.click("#save")
    assert page.text_content("#said") == "Nothing is accepted or rejected yet."
    page.focus("#author")
    page.keyboard.press("r")
    assert page.input_value("#author") == "Annr", "keys in a field are text"


def test_accepting_all_makes_a_patch_that_is_applied_and_undone(visit, dataset, tmp_path):
    page, table = visit(), dataset[0]
    for _ in range(remaining(page)):
        page.keyboard.press("a")
    lines = save(page, tmp_path)
    assert lines[0]["lookalike_patch"] == 1
    assert {"drop", "relabel", "merge"} <= {line["do"] for line in lines[1:]}
    words = ["prepare", f"patch={tmp_path}/review.jsonl"]
    assert main([*words, f"dataset={table.folder}", f"out={tmp_path}/after"]) == 0
    assert main([*words, f"dataset={tmp_path}/after", "undo=true", f"out={tmp_path}/undone"]) == 0
    assert read_table(tmp_path / "undone").relative_to(table.folder).frame.equals(table.frame)


def test_rejecting_all_means_that_nothing_is_proposed_again(visit, dataset, tmp_path):
    page, (table, embeddings, _) = visit(), dataset
    for _ in range(remaining(page)):
        page.keyboard.press("r")
    assert {line["do"] for line in save(page, tmp_path)[1:]} <= {"different", "keep"}
    words = ["prepare", f"patch={tmp_path}/review.jsonl", f"dataset={table.folder}", f"out={tmp_path}/after"]
    assert main(words) == 0
    after = read_table(tmp_path / "after")
    vectors = lookalike.Embeddings(embeddings.vectors, after, embeddings.space)
    assert len(lookalike.clean(after, vectors)) == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_it_fits_every_screen_and_every_text_stands_out(visit, scheme, width):
    page = visit(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page.keyboard.press("a")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert not page.evaluate(CONTRAST)
