"""The explorer in a real Chromium: a click shows neighbours, a selection becomes a patch of a table."""

import json
import re
from urllib.parse import unquote

import pytest
from hostile_names import HOSTILE, LABELS, NAMES, make_vectors
from playwright import sync_api

from browser_checks import CONTRAST
from lookalike.cli.main import main
from lookalike.data.table import read_table

pytestmark = pytest.mark.browser
CHOSEN = "[...lookalike.state.selected].reduce((sum, each) => sum + each, 0)"


@pytest.fixture
def visit(browser, made):
    """Open the page; whatever goes wrong or out is in the list."""
    pages = []

    def go(width=1280, single=True, height=800, **options):
        page, trouble = browser.new_page(viewport={"width": width, "height": height}, **options), []
        pages.append(page)
        page.on("console", lambda message: trouble.append(message.text))
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("request", lambda request: trouble.append(request.url) if is_network(request.url) else None)
        page.goto(made(single).as_uri())
        page.wait_for_selector("body[data-ready]")
        return page, trouble

    yield go
    for page in pages:
        page.close()


def is_network(url):
    return not url.startswith(("file:", "data:", "blob:"))


def until(page, script):
    """Wait for a value that is true; the page's own rules forbid Playwright's way of waiting."""
    for _ in range(1200):
        if page.evaluate(script):
            return
        page.wait_for_timeout(50)
    pytest.fail(f"never came true: {script}")


def spot(page, row):
    """Where a row is on the screen."""
    box = page.locator("#pictures").bounding_box()
    x, y = page.evaluate(f"[lookalike.screenX({row}), lookalike.screenY({row})]")
    return box["x"] + x, box["y"] + y


def click_row(page, row):
    """Click where only this row is: zoomed in on it."""
    page.evaluate(
        """row => { const v = lookalike.view; v.scale = 5000;
        v.left = v.width / 2 - lookalike.data().x[row] * 5000;
        v.top = v.height / 2 - lookalike.data().y[row] * 5000; lookalike.paint(); }""",
        row,
    )
    page.mouse.click(*spot(page, row))


def select_rows(page, first, last):
    """Select rows by the search box and its button; they share a label."""
    page.locator("#search").fill(LABELS[first // len(NAMES)])
    page.wait_for_selector("#found:not([hidden])")
    page.locator("#found-select").click()
    page.locator("#search").fill("")
    assert page.evaluate(CHOSEN) == last - first


def note(page, kind, label="", name="Ann", text=""):
    page.locator(f"#{kind}").click()
    if label:
        page.locator("#to").fill(label)
    page.locator("#author").fill(name)
    page.locator("#note").fill(text)
    page.locator("#ask button[type=submit]").click()


def save_patch(page, tmp_path):
    with page.expect_download() as download:
        page.locator("#save").click()
    download.value.save_as(tmp_path / "patch.jsonl")
    return tmp_path / "patch.jsonl"


@pytest.mark.parametrize("single", [True, False])
def test_it_opens_without_errors_and_without_the_network(visit, made, single):
    page, trouble = visit(single=single)
    until(page, "lookalike.drawn.rows.length > 3")
    assert page.title() == f"my {HOSTILE} · Lookalike explorer"
    assert (made(single).parent / "sheets").is_dir() != single
    pixels = "document.getElementById('points').getContext('2d').getImageData(0, 0, 900, 700).data"
    assert page.evaluate(f"{pixels}.some(Boolean)")
    assert trouble == []


def test_a_click_shows_the_image_and_its_nearest_neighbours(visit):
    page, trouble = visit()
    click_row(page, 9)
    hits = page.locator("#image .cards .card")
    assert hits.count() == 5
    assert page.locator("#image h2").inner_text() == LABELS[2]
    near = page.evaluate("[...lookalike.data().neighbours.slice(45, 50)]")
    assert set(near[:3]) == {8, 10, 11}
    assert (
        page.locator("#image .cards .right").count() == 3
        and page.locator("#image .cards .wrong").count() == 2
    )
    alike, apart = map(float, hits.first.locator("span").last.inner_text().split(" · "))
    vectors = make_vectors().astype(float)
    assert alike == pytest.approx(vectors[9] @ vectors[near[0]], abs=0.0006)
    assert apart == pytest.approx(((vectors[9] - vectors[near[0]]) ** 2).sum() ** 0.5, abs=0.006)
    hits.first.click()
    assert page.evaluate("lookalike.state.focus") == near[0]
    assert trouble == []


def test_the_original_is_drawn_where_it_is_there(visit):
    page, trouble = visit()
    with page.expect_event("requestfinished", lambda request: "/photos/" in request.url) as asked:
        click_row(page, 2)
    assert unquote(asked.value.url).endswith("photos/0/quote'\".png")
    page.wait_for_timeout(50)
    middle = "[...document.querySelector('canvas.large').getContext('2d').getImageData(0, 0, 1, 1).data]"
    with pytest.raises(sync_api.Error, match="tainted"):  # only a file that was drawn taints
        page.evaluate(middle)
    assert trouble == []


@pytest.mark.parametrize("tool", ["rectangle", "lasso"])
def test_dragging_selects_what_is_inside(visit, tool):
    page, trouble = visit()
    page.locator(f"[data-tool-button={tool}]").click()
    box = page.locator("#pictures").bounding_box()
    left, top, right, bottom = (
        box["x"] + 2,
        box["y"] + 2,
        box["x"] + box["width"] - 2,
        box["y"] + box["height"] - 60,
    )
    page.mouse.move(left, top)
    page.mouse.down()
    for x, y in [(right, top), (right, bottom), (left, bottom)] if tool == "lasso" else [(right, bottom)]:
        page.mouse.move(x, y, steps=4)
    page.mouse.up()
    assert page.evaluate(CHOSEN) == 24
    assert page.locator("#selection-title").inner_text() == "24 images selected"
    assert trouble == []


def test_a_selection_becomes_a_patch_that_changes_the_table(visit, made, tmp_path, capsys):
    page, trouble = visit(accept_downloads=True)
    select_rows(page, 0, 4)
    note(page, "relabel", "lynx <i>", text='whiskers, "long"')
    select_rows(page, 4, 8)
    note(page, "drop")
    select_rows(page, 20, 24)
    note(page, "different", name="Bob")
    page.evaluate("[12, 16].forEach(row => lookalike.state.selected[row] = 1)")
    click_row(page, 12)
    page.get_by_role("button", name="With neighbours").click()
    page.locator("#merge").click()
    page.locator("#to").fill("one")
    page.locator("#ask button[type=submit]").click()
    patch = save_patch(page, tmp_path)
    lines = [json.loads(line) for line in patch.read_text().splitlines()]
    assert [line["do"] for line in lines[1:]].count("different") == 6
    assert lines[1]["author"] == "Ann" and lines[1]["note"] == 'whiskers, "long"'
    data = made().parents[1] / "data"
    assert main(["prepare", f"patch={patch}", f"dataset={data}", f"out={tmp_path / 'new'}"]) == 0
    now = read_table(tmp_path / "new").frame["label"].to_list()
    assert now[:4] == ["lynx <i>"] * 4 and "dog" not in now and len(now) == 20
    shown = page.evaluate("[...lookalike.state.labels].map(code => lookalike.state.names[code])")
    assert now == [label for row, label in enumerate(shown) if not 4 <= row < 8], (
        "the page shows what the table becomes"
    )
    assert (tmp_path / "new" / "different.csv").is_file()
    assert trouble == []


@pytest.mark.parametrize(("label", "said"), [(" NaN", "“NaN” says that there is no"), ("  ", "Give a label")])
def test_a_label_that_the_table_would_refuse_is_refused(visit, label, said):
    page, trouble = visit()
    select_rows(page, 0, 4)
    note(page, "relabel", label)
    assert said in page.locator("#to").evaluate("field => field.validationMessage")
    assert page.locator("#ask").is_visible() and not page.locator("#changes").is_visible()
    page.locator("#to").fill("lynx")
    page.locator("#ask button[type=submit]").click()
    assert page.locator("#changes").is_visible() and trouble == []
    page.locator("#clear").click()
    select_rows(page, 4, 8)
    note(page, "drop")
    assert page.locator("#changes li").count() == 2


def test_a_change_can_be_taken_back_and_a_patch_opened_again(visit, tmp_path):
    page, trouble = visit(accept_downloads=True)
    select_rows(page, 0, 4)
    note(page, "relabel", "lynx")
    select_rows(page, 4, 8)
    note(page, "drop")
    patch = save_patch(page, tmp_path)
    page.locator("#changes-list button").first.click()
    assert page.locator("#changes-title").inner_text() == "1 change"
    assert page.evaluate("lookalike.state.names[lookalike.state.labels[0]]") == "cat"
    other, more = visit()
    other.locator("#open").set_input_files(patch)
    other.wait_for_selector("#changes:not([hidden])")
    assert other.locator("#changes-title").inner_text() == "2 changes"
    assert other.evaluate("[...lookalike.state.dropped].slice(4, 8)") == [1, 1, 1, 1]
    other.locator("#open").set_input_files({"name": "x.jsonl", "mimeType": "text/plain", "buffer": b"<b>no"})
    other.locator("#said", has_text="cannot be opened").wait_for()
    assert trouble == more == []


def test_a_patch_of_another_folder_or_of_unknown_classes_is_refused(visit):
    page, trouble = visit()
    who = {"author": "Ann", "note": "", "at": "2026-05-01T12:00:00Z"}
    merge = {"do": "merge", "to": "cat", **who}
    for root, change, said in [
        ("shop/photos", {**merge, "from": ["dog"]}, "its paths start in shop/photos"),
        ("", {**merge, "from": ["dog", "__proto__"]}, "change 1 merges __proto__, which is no class"),
        ("", {**merge, "from": ["constructor"]}, "change 1 merges constructor, which is no class"),
        ("", {**who, "do": "toString"}, "change 1 is none of relabel, merge, drop, different"),
    ]:
        lines = [{"lookalike_patch": 1, "root": root}, change]
        text = "\n".join(map(json.dumps, lines)).encode()
        page.locator("#open").set_input_files({"name": "x.jsonl", "mimeType": "text/plain", "buffer": text})
        page.locator("#said", has_text=said).wait_for()
        assert page.locator("#changes").is_hidden()
    assert trouble == []


def test_shift_adds_to_the_selection_in_move_mode(visit):
    page, _ = visit()
    select_rows(page, 0, 4)
    page.evaluate("lookalike.state.matched = null")
    row = 20
    x, y = spot(page, row)
    page.keyboard.down("Shift")
    page.mouse.move(x - 6, y - 6)
    page.mouse.down()
    page.mouse.move(x + 6, y + 6, steps=3)
    page.mouse.up()
    page.keyboard.up("Shift")
    chosen = page.evaluate("[...lookalike.state.selected]")
    assert chosen[:4] == [1] * 4 and chosen[row] == 1


def test_a_long_toast_stays_small_and_off_the_map_of_a_narrow_screen(visit):
    page, _ = visit(390, height=844)
    text = json.dumps({"lookalike_patch": 1, "root": "x" * 2000}).encode()
    page.locator("#open").set_input_files({"name": "x.jsonl", "mimeType": "text/plain", "buffer": text})
    toast = page.locator("#said", has_text="another data set")
    toast.wait_for()
    box, around = toast.bounding_box(), page.locator("#map").bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= 390
    assert box["y"] + box["height"] <= around["y"]


def test_characters_that_turn_text_around_are_seen_and_kept_in_the_patch(visit, tmp_path):
    page, trouble = visit(accept_downloads=True)
    select_rows(page, 0, 4)
    note(page, "relabel", "a\u202egnp.exe")
    click_row(page, 0)
    assert page.locator("#image h2").inner_text().startswith("a\ufffdgnp.exe")
    assert page.evaluate("!/[\\u202a-\\u202e]/.test(document.querySelector('main').textContent)")
    assert page.locator("#changes-list").inner_text().startswith("4 images → a\ufffdgnp.exe")
    assert "a\u202egnp.exe" in save_patch(page, tmp_path).read_text(encoding="utf-8")
    assert trouble == []


def test_search_finds_labels_paths_and_columns(visit):
    page, trouble = visit()
    for text, count in [
        ("한국", 4),
        ("per%20cent", 6),
        ("CAMERA WOLF", 4),
        ("wolf quote", 1),
        ("nothing", 0),
    ]:
        page.locator("#search").fill(text)
        page.locator("#found-title", has_text=re.compile(f"^{count} image")).wait_for()
    assert trouble == []


def test_colours_follow_any_column(visit):
    page, trouble = visit()
    names = page.locator("#colour option").all_inner_texts()
    assert names == ["label", "split", "weight", "camera", "nearest"]
    seen = set()
    for name in names:
        page.locator("#colour").select_option(label=name)
        assert page.locator("#legend-title").inner_text() == name
        page.wait_for_timeout(60)
        seen.add(page.evaluate("document.getElementById('points').toDataURL()"))
    assert len(seen) >= 3
    page.locator(".legend button").first.click()
    assert page.locator(".legend button").first.get_attribute("aria-pressed") == "true"
    assert trouble == []


def test_the_keyboard_is_enough(visit):
    page, trouble = visit()
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "search"
    page.locator("#pictures").focus()
    before = page.evaluate("lookalike.view.left")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("+")
    assert page.evaluate("lookalike.view.left") != before
    page.keyboard.press("Enter")
    assert page.locator("#image .cards .card").count() == 5
    page.keyboard.press(" ")
    assert page.evaluate(CHOSEN) == 1
    page.locator("#drop").focus()
    page.keyboard.press("Enter")
    page.keyboard.type("Ann")
    page.keyboard.press("Enter")
    assert page.evaluate("[...lookalike.state.dropped].filter(Boolean).length") == 1
    assert trouble == []


def test_two_fingers_zoom_and_one_moves(visit):
    page, trouble = visit(390, height=844, has_touch=True)
    page.evaluate("""() => {
      const map = document.getElementById("pictures");
      const send = (type, id, x, y) => map.dispatchEvent(new PointerEvent(type, {
        pointerId: id, pointerType: "touch", clientX: x, clientY: y, bubbles: true, isPrimary: id === 1}));
      map.setPointerCapture = () => {};
      window.was = lookalike.view.scale;
      send("pointerdown", 1, 150, 300); send("pointerdown", 2, 200, 300);
      send("pointermove", 2, 250, 300); send("pointerup", 2, 250, 300); send("pointerup", 1, 150, 300);
      window.zoomed = lookalike.view.scale; window.left_was = lookalike.view.left;
      send("pointerdown", 1, 150, 300); send("pointermove", 1, 180, 300); send("pointerup", 1, 180, 300);
    }""")
    assert page.evaluate("zoomed / was") == pytest.approx(2)
    assert page.evaluate("lookalike.view.left - left_was") == pytest.approx(30)
    assert trouble == []


@pytest.mark.parametrize("width", [320, 390, 768])
def test_it_fits_a_narrow_screen(visit, width):
    page, trouble = visit(width, height=700)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.locator("#pictures").focus()
    page.keyboard.press("Enter")
    assert page.locator("#image .cards .card").first.is_visible()
    assert page.locator("#map").bounding_box()["height"] > 200
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert trouble == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out(visit, scheme):

    page, trouble = visit(color_scheme=scheme, accept_downloads=True)
    page.locator("#search").fill("cat")
    page.wait_for_selector("#found:not([hidden])")
    page.locator("#found-select").click()
    note(page, "relabel", "lynx", text="why")
    page.locator("#pictures").focus()
    page.keyboard.press("Enter")
    assert page.evaluate(CONTRAST) == []
    assert trouble == []


def test_names_are_shown_and_never_run(visit):
    page, trouble = visit()
    for row in range(0, 24, 4):
        click_row(page, row)
        assert page.locator("#image h2").inner_text() == LABELS[row // 4]
    page.mouse.move(*spot(page, 0))
    assert page.title().startswith("my <script>") and page.locator("b > b, img").count() == 0
    assert page.evaluate("document.querySelectorAll('#panel script, #panel img').length") == 0
    assert trouble == []
