"""What a person does on the page of the service, and what they then read."""


def upload(page, *files):
    """Choose photos and wait for their answers; the headline of each individual on the page."""
    before = page.locator(".card").count()
    page.set_input_files("#files", [str(file) for file in files])
    return answers(page, before)


def answers(page, before=0):
    """The headlines, once all photos are answered."""
    page.locator(".card").nth(before).wait_for()
    page.wait_for_selector("#photos[aria-busy=false]")
    return [text.strip() for text in page.locator(".subject h3 > span:last-child").all_inner_texts()]


def go(page, view):
    """Follow a link of the navigation, and wait for its heading."""
    page.locator(f"nav a[data-view={view}]").click()
    page.locator(f"#view-{view} h1").wait_for()


def press(page, name, inside="main"):
    """Click a button."""
    page.locator(inside).get_by_role("button", name=name).first.click()


def dialog(page):
    """The open dialog."""
    return page.locator("dialog[open]")


def names_and_counts(page):
    """The identities that are shown, as "Mia 3 photos"."""
    return [text.replace("\n", " ") for text in page.locator("#view-identities .tile").all_inner_texts()]
