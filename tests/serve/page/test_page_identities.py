"""The page of the service: identities are named, merged, split and forgotten, and decisions are undone."""

import pytest
from page_actions import dialog, go, names_and_counts, press
from playwright.sync_api import expect

from lookalike.search.registry import Registry

pytestmark = pytest.mark.browser


@pytest.fixture
def page(visit, serve):
    shown = visit(serve())
    go(shown, "identities")
    shown.locator("#view-identities .tile").first.wait_for()
    return shown


def open_identity(page, name):
    go(page, "identities")
    page.locator("#view-identities .tile", has_text=name).click()
    page.get_by_role("heading", name=name, exact=True).wait_for()
    page.locator("#view-identity .photo").first.wait_for()


def photos(page):
    return page.locator("#view-identity .photo").count()


def expect_toast(page, text):
    expect(page.locator("#toast p")).to_contain_text(text)


def test_identities_are_searched_and_the_unknown_are_named_and_merged(page):
    assert names_and_counts(page)[0] == "Bruno 3 photos"
    page.get_by_label("Find a name").fill("MI")
    tiles = page.locator("#view-identities .tile")
    expect(tiles).to_contain_text(["Mia"])
    expect(page.locator("#view-identities [role=status]")).to_have_text("1 identity found")
    page.get_by_label("Find a name").fill("")
    page.get_by_text("Only those without a name").click()
    expect(tiles).to_contain_text(["new-1"])
    assert names_and_counts(page) == ["new-1 1 photo · no name yet"]
    page.get_by_text("Only those without a name").click()
    open_identity(page, "new-1")
    press(page, "Give it a name…")
    dialog(page).get_by_label("Name").fill("Theo")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Theo", exact=True).wait_for()
    expect_toast(page, "new-1 is now called Theo.")
    press(page, "Rename…")
    dialog(page).get_by_label("Name").fill("Kobe")  # there is one already
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Merge Theo and Kobe?").wait_for()
    press(page, "Merge", "dialog")
    page.get_by_role("heading", name="Kobe", exact=True).wait_for()
    page.locator("#view-identity .photo").nth(3).wait_for()
    press(page, "Undo", "#toast")
    page.get_by_role("heading", name="Theo", exact=True).wait_for()
    page.locator("#view-identity .photo").wait_for()
    press(page, "Merge with…")
    page.keyboard.type("ko")
    dialog(page).get_by_role("option", name="Kobe").wait_for()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    press(page, "Merge", "dialog")
    page.get_by_role("heading", name="Kobe", exact=True).wait_for()
    go(page, "history")
    page.locator(".history li").nth(3).wait_for()
    assert page.locator(".history .what").all_inner_texts() == [
        "Theo became Kobe",
        "Decision 2 was taken back",
        "Theo became Kobe",
        "new-1 became Theo",
    ]
    page.get_by_role("button", name="Undo decision 4").click()
    page.get_by_text("Decision 4 was taken back").first.wait_for()
    go(page, "identities")
    page.locator("#view-identities .tile", has_text="Theo").wait_for()


def test_photos_are_split_off_moved_removed_and_an_identity_is_forgotten(page):
    open_identity(page, "Mia")
    page.get_by_label("Select photo 1").check()
    page.get_by_label("Select photo 2").check()
    assert "2 photos selected" in page.locator(".selection").inner_text()
    press(page, "Split off…")
    dialog(page).get_by_role("textbox").fill("Bruno")
    page.keyboard.press("Enter")
    dialog(page).get_by_role("alert").wait_for()
    assert "There is already somebody called Bruno" in dialog(page).inner_text()
    dialog(page).get_by_role("textbox").fill("")
    page.keyboard.press("Enter")
    expect_toast(page, "split off as new-2")
    expect(page.locator("#view-identity .photo")).to_have_count(1)
    open_identity(page, "new-2")
    page.get_by_label("Select photo 1").check()
    press(page, "Move to…")
    page.keyboard.type("mia")
    dialog(page).get_by_role("option", name="Mia").wait_for()
    page.keyboard.press("Enter")
    expect_toast(page, "1 photo moved to Mia.")
    expect(page.locator("#view-identity .photo")).to_have_count(1)
    open_identity(page, "Mia")
    assert photos(page) == 2
    page.get_by_label("Select photo 1").check()
    press(page, "Remove…")
    assert "cannot be undone" in dialog(page).inner_text()
    assert page.evaluate("document.activeElement.textContent") == "Cancel"
    press(page, "Remove", "dialog")
    expect_toast(page, "1 photo removed.")
    expect(page.locator("#view-identity .photo")).to_have_count(1)
    press(page, "Forget…")
    text = dialog(page).inner_text()
    assert "deletes 1 photo of Mia" in text and "decisions" in text and "cannot be undone" in text
    press(page, "Forget", "dialog")
    expect_toast(page, "Mia is forgotten.")
    page.locator("#view-identities .tile").first.wait_for()
    expect(page.locator("#view-identities .tile", has_text="Mia")).to_have_count(0)


def test_somebody_is_added_with_photos_and_gets_more(page, photo, serve):
    press(page, "Add somebody")
    press(page, "Add", "dialog form")
    assert "at least one photo" in dialog(page).inner_text() or dialog(page).is_visible()
    dialog(page).get_by_label("Name (may be left empty)").fill("Leo")
    dialog(page).get_by_label("Photos of this one").set_input_files([photo("tiger", 0), photo("tiger", 1)])
    press(page, "Add", "dialog form")
    page.get_by_role("heading", name="Leo", exact=True).wait_for()
    expect_toast(page, "2 photos saved as Leo.")
    press(page, "Add photos…")
    dialog(page).get_by_label("Photos of this one").set_input_files(photo("tiger", 2))
    press(page, "Add", "dialog form")
    page.locator("#view-identity .photo").nth(2).wait_for()
    press(page, "Enlarge photo 1")
    shown = page.locator("dialog img")
    assert shown.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Enlarge photo 1")).to_be_focused()


def test_the_history_says_who_decided(visit, serve):
    service = serve()
    page = visit(service)
    go(page, "history")
    page.get_by_text("Nothing was decided yet.").wait_for()
    page.get_by_label("Your name").fill("Ann")
    page.get_by_label("Your name").blur()
    open_identity(page, "new-1")
    press(page, "Give it a name…")
    dialog(page).get_by_label("Name").fill("Theo")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Theo", exact=True).wait_for()
    with Registry(service.settings.index) as registry:
        assert [decision.author for decision in registry.decisions()] == ["Ann"]
    go(page, "history")
    page.get_by_text("Ann").wait_for()
