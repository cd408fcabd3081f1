"""The page of the service for everybody: no connection, no rights, no mouse, no eyesight, a small screen."""

import shutil
from urllib.request import urlopen

import pytest
from axe_playwright_python.sync_playwright import Axe
from page_actions import answers, dialog, go, press, upload
from playwright.sync_api import expect

from browser_checks import CONTRAST
from lookalike.search.registry import Registry
from lookalike.serve.app import PAGE

pytestmark = pytest.mark.browser
LARGEST = 300_000


@pytest.fixture(scope="module")
def service(serve):
    return serve()


def test_the_page_is_small_and_never_of_two_versions(service):
    files = {file.name: file for file in PAGE.iterdir()}
    assert sum(file.stat().st_size for file in files.values()) <= LARGEST
    worker, index = files["sw.js"].read_text(), files["index.html"].read_text()
    for name in files.keys() - {"sw.js", "index.html"}:
        assert f'"page/{name}"' in worker, "it opens without a connection"
        with urlopen(f"{service.url}page/{name}") as response:
            assert response.headers["Cache-Control"] == "no-cache" and response.headers["ETag"]
        assert not name.endswith(".js") or f'"page/{name}"' in index


def test_an_index_that_does_not_change_is_only_looked_up(visit, serve, photo):
    page = visit(serve("fixed"))
    assert "can be looked up but not changed" in page.locator("#notices").inner_text()
    assert upload(page, photo("cat")) == ["This is Mia"]
    assert page.get_by_role("button", name="Yes, this is Mia").count() == 0
    page.locator(".hit").first.click()
    assert dialog(page).get_by_role("button", name="Yes").count() == 0
    press(page, "Close", "dialog .buttons")
    go(page, "identities")
    page.locator("#view-identities .tile").first.click()
    page.locator(".photo").first.wait_for()
    names = page.locator("main").get_by_role("button").all_inner_texts()
    assert not {"Forget…", "Rename…", "Add photos…"} & set(names)


def test_an_empty_index_says_how_to_begin(visit, serve, shelter, photo, tmp_path):
    folder = shutil.copytree(shelter / "index", tmp_path / "index")
    with Registry(folder) as registry:
        for name in registry.identities():
            registry.forget(name)
    page = visit(serve(folder=folder))
    assert "Nobody is enrolled yet" in page.locator("#first-steps").inner_text()
    assert upload(page, photo("cat")) == ["Nobody is known yet"]
    press(page, "This is a new one…")
    page.keyboard.type("Mia")
    page.keyboard.press("Enter")
    page.locator(".done").wait_for()
    expect(page.locator("#first-steps")).to_be_empty()
    go(page, "identities")
    page.locator("#view-identities .tile", has_text="Mia").wait_for()


def test_the_token_is_asked_for_once_and_kept_in_the_tab(visit, serve, photo):
    page = visit(serve(token="open sesame"), expected=["401"])
    assert upload(page, photo("dog")) == ["This is Bruno"]
    press(page, "This is a new one…")
    page.keyboard.type("Bella")
    page.keyboard.press("Enter")
    dialog(page).get_by_label("Token of this service").fill("wrong")
    page.keyboard.press("Enter")
    expect(dialog(page)).to_contain_text("The token was refused")
    dialog(page).get_by_label("Token of this service").fill("open sesame")
    page.keyboard.press("Enter")
    page.locator(".done").wait_for()
    assert page.evaluate("[sessionStorage.length, localStorage.length]") == [1, 0]
    page.reload()
    page.wait_for_selector("body[data-ready]")
    expect(page.locator("#notices")).to_be_empty()
    assert upload(page, photo("dog")) == ["This is Bella"]
    press(page, "Yes, this is Bella")
    page.locator(".done").wait_for()
    press(page, "Forget the token", "header")
    expect(page.locator("#notices")).to_contain_text("To save anything, the service wants its token.")


def test_reading_may_need_the_token_as_well(visit, serve, photo):
    page = visit(serve(token="open sesame", read_token=True), expected=["401"], ready=False)
    dialog(page).get_by_label("Token of this service").fill("open sesame")
    page.keyboard.press("Enter")
    page.wait_for_selector("body[data-ready]")
    assert upload(page, photo("dog")) == ["This is Bruno"]
    expect(page.locator(".hit img")).to_have_count(5)
    widths = "Promise.all([...document.querySelectorAll('.hit img')].map(image => image.naturalWidth))"
    for _ in range(50):
        if min(page.evaluate(widths)):
            return
        page.wait_for_timeout(100)
    pytest.fail("a picture is not shown")


def test_other_computers_only_look_up_where_there_is_no_token(visit, service):
    page = visit(service, extra_http_headers={"X-Forwarded-For": "192.0.2.1"})
    assert "From this device you can look up" in page.locator("#notices").inner_text()
    go(page, "identities")
    assert page.get_by_role("button", name="Add somebody").count() == 0


def test_without_a_connection_the_page_opens_and_photos_wait(visit, service, photo):
    page = visit(service, expected=["ERR_CONNECTION_REFUSED", "ERR_INTERNET_DISCONNECTED", "Failed to load"])
    page.evaluate("navigator.serviceWorker.ready.then(() => 1)")
    page.context.set_offline(True)
    page.set_input_files("#files", photo("cat"))
    card = page.locator(".card")
    expect(card).to_contain_text("kept on this device")
    expect(page.locator("#notices")).to_contain_text("No connection to the service")
    page.goto(service.url)
    page.wait_for_selector("body[data-ready]")
    expect(card).to_contain_text("kept on this device")
    go(page, "identities")
    expect(page.locator("#view-identities")).to_contain_text("cannot be reached")
    go(page, "identify")
    page.context.set_offline(False)
    expect(card).to_contain_text("This is Mia", timeout=12_000)
    expect(page.locator("#notices")).to_be_empty()
    page.reload()
    page.wait_for_selector("body[data-ready]")
    assert page.locator(".card").count() == 0, "an answered photo waits no more"


def tab_to(page, name, most=60):
    """Press Tab until the element with this accessible text has the focus."""
    texts = []
    for _ in range(most):
        page.keyboard.press("Tab")
        texts.append(
            page.evaluate("(document.activeElement.ariaLabel ?? document.activeElement.innerText).trim()")
        )
        if texts[-1].startswith(name):
            return
    pytest.fail(f"{name} was not reached: {texts}")


def test_the_keyboard_is_enough(visit, serve, photo):
    service = serve()
    page = visit(service)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    tab_to(page, "Choose photos")
    page.evaluate(
        "document.querySelector('#files').onclick = () => { document.title = 'choosing'; return false; }"
    )
    page.keyboard.press("Enter")
    assert page.title() == "choosing"
    page.set_input_files("#files", photo("cat"))
    assert answers(page) == ["This is Mia"]
    expect(page.locator("#live")).to_have_text("cat-0.jpg: This is Mia")
    tab_to(page, "No, this is not Mia")
    page.keyboard.press("Space")
    expect(page.get_by_role("heading", name="Not Mia. Who is it?")).to_be_focused()
    tab_to(page, "This is somebody else…")
    page.keyboard.press("Enter")
    page.keyboard.type("ted")
    dialog(page).get_by_role("option", name="Teddy").wait_for()
    expect(page.get_by_role("combobox")).to_have_attribute("aria-activedescendant", "name-0")
    page.keyboard.press("Enter")
    page.locator(".done").wait_for()
    expect(page.get_by_role("heading", name="This is Teddy")).to_be_focused()
    tab_to(page, "See all photos")
    page.keyboard.press("Enter")
    page.locator("#view-identity .photo").nth(3).wait_for()
    expect(page.get_by_role("heading", name="Teddy", exact=True)).to_be_focused()
    assert page.title() == "Teddy · Lookalike"
    tab_to(page, "Select photo 1")
    page.keyboard.press("Space")
    tab_to(page, "Split off…")
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Split off…")).to_be_focused()


SMALL = """() => [...document.querySelectorAll("button, a, input, [role=option]")]
  .map(node => node.closest("label") ?? node)
  .filter(node => node.checkVisibility() && !node.closest(".hidden, .skip, p"))
  .map(node => [node.innerText || node.ariaLabel, node.getBoundingClientRect()])
  .filter(([, box]) => box.width > 1 && (box.height < 44 || box.width < 44)).map(([text]) => text)"""


def check(page, width):
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert not page.evaluate(CONTRAST)
    assert not page.evaluate(SMALL)
    found = Axe().run(page).response["violations"]
    assert not [(each["id"], each["nodes"][0]["html"]) for each in found]


@pytest.mark.parametrize(("scheme", "width"), [("light", 1440), ("dark", 360)])
def test_it_fits_every_screen_and_everybody_can_read_it(visit, serve, photo, scheme, width, tmp_path):
    service = serve(halves=True)
    page = visit(
        service,
        expected=["422"],
        viewport={"width": width, "height": 800},
        color_scheme=scheme,
        reduced_motion="reduce",
        has_touch=width < 500,
    )
    check(page, width)
    (tmp_path / "notes.txt").write_text("hello")
    name = "W" * 150
    upload(page, photo("koala", width=600, name=f"{name}.jpg"), photo("cat"), tmp_path / "notes.txt")
    page.locator(".subject").nth(0).get_by_role("button", name="This is a new one…").click()
    dialog(page).get_by_label("Name").fill(name)
    check(page, width)
    page.keyboard.press("Enter")
    page.locator(".done").wait_for()
    check(page, width)
    page.locator(".hit").last.click()
    page.locator("dialog canvas").wait_for()
    check(page, width)
    page.keyboard.press("Escape")
    page.get_by_text("See all photos").first.click()
    page.get_by_label("Select photo 1").check()
    check(page, width)
    press(page, "Merge with…")
    page.get_by_role("option").first.wait_for()
    check(page, width)
    page.get_by_role("option", name="Mia").click()
    press(page, "Merge", "dialog")
    page.locator("#toast p").wait_for()
    check(page, width)
    for view in ("identities", "history"):
        go(page, view)
        page.locator(f"#view-{view} li").first.wait_for()
        check(page, width)
