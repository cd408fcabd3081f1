"""The page of the service in a real Chromium: photos are answered, and people correct the answers."""

import base64
import io

import pytest
from page_actions import answers, dialog, go, press, upload
from PIL import Image

from lookalike.search.registry import Registry

pytestmark = pytest.mark.browser
HOSTILE = '<img src=x onerror="alert(1)">/&"\'</b> \N{CAT FACE}'


@pytest.fixture(scope="module")
def service(serve):
    return serve()


def identities(service):
    with Registry(service.settings.index) as registry:
        return registry.identities()


def kinds(service):
    with Registry(service.settings.index) as registry:
        return [decision.kind for decision in registry.decisions()]


def files_as_data(*files):
    return [[file.name, base64.b64encode(file.read_bytes()).decode()] for file in files]


TRANSFER = """([files, kind, target]) => {
  const data = new DataTransfer();
  for (const [name, text] of files) {
    data.items.add(new File([Uint8Array.from(atob(text), c => c.charCodeAt(0))], name, {type: "image/jpeg"}));
  }
  const event = kind === "paste" ? new ClipboardEvent("paste", {clipboardData: data, bubbles: true})
    : new DragEvent(kind, {dataTransfer: data, bubbles: true, cancelable: true});
  document.querySelector(target).dispatchEvent(event);
}"""


def test_a_photo_is_answered_with_the_matches_and_what_the_threshold_promises(visit, service, photo):
    page = visit(service)
    assert upload(page, photo("cat")) == ["This is Mia"]
    text = page.locator(".card").inner_text()
    assert "very similar" in text and "in 100" in text and "A name is given from a similarity of 0." in text
    assert page.locator(".hit").count() == 5
    widths = "Promise.all([...document.images].map(image => image.decode().then(() => image.naturalWidth)))"
    assert min(page.evaluate(widths)) > 0


def test_a_stranger_is_enrolled_recognised_and_taken_back(visit, service, photo):
    page, before = visit(service), identities(service)
    assert upload(page, photo("anchor")) == ["Probably nobody you know yet"]
    press(page, "This is a new one…")
    dialog(page).get_by_label("Name (may be left empty)").fill(HOSTILE)
    page.keyboard.press("Enter")
    page.locator(".done").wait_for()
    assert f"Saved as {HOSTILE}." in page.locator(".done").inner_text()
    assert identities(service) == {**before, HOSTILE: 1}
    page.reload()
    page.wait_for_selector("body[data-ready]")
    assert upload(page, photo("anchor")) == [f"This is {HOSTILE}"]
    assert page.locator(".hit b").first.inner_text() == HOSTILE
    press(page, f"Yes, this is {HOSTILE}")
    page.get_by_text("had this photo before").wait_for()
    assert page.get_by_role("button", name="Undo").count() == 0, "it would forget what was enrolled earlier"
    page.get_by_text("See all photos").click()
    page.locator("#view-identity .photo").nth(0).wait_for()
    assert page.locator("#view-identity h1").inner_text() == HOSTILE
    press(page, "Forget…")
    press(page, "Forget", "dialog")
    page.locator("#view-identities .tile").first.wait_for()
    go(page, "identify")
    press(page, "Remove anchor-0.jpg from this page")
    assert upload(page, photo("anchor")) == ["Probably nobody you know yet"]
    press(page, "This is somebody you know…")
    dialog(page).get_by_role("combobox").fill("brun")
    dialog(page).get_by_role("option", name="Bruno").wait_for()
    page.keyboard.press("Enter")
    page.locator(".done").wait_for()
    assert identities(service) == {**before, "Bruno": before["Bruno"] + 1}
    press(page, "Undo")
    page.locator(".hits").wait_for()
    assert identities(service) == before


def test_a_wrong_answer_is_corrected_and_the_correction_is_kept(visit, service, photo):
    page, before = visit(service), identities(service)
    assert upload(page, photo("dog")) == ["This is Bruno"]
    press(page, "No, this is not Bruno")
    assert page.locator(".subject h3").inner_text().strip() == "Not Bruno. Who is it?"
    assert "Bruno" not in page.locator(".hits").inner_text()
    press(page, "Take back “not Bruno”")
    assert answers(page) == ["This is Bruno"]
    page.locator(".hit").first.click()
    assert page.evaluate("document.querySelector('dialog img').src").endswith("size=512")
    press(page, "No, they differ", "dialog")
    press(page, "This is a new one…")
    page.keyboard.press("Enter")
    page.locator(".done").wait_for()
    number = page.locator(".done bdi").inner_text()
    assert number.startswith("new-") and identities(service) == {**before, number: 1}
    assert kinds(service)[-1] == "different"
    press(page, "Undo")
    page.locator(".hits").wait_for()
    assert identities(service) == before and not kinds(service), "the photo is forgotten with all about it"


def test_several_photos_are_answered_each_or_as_one(visit, service, photo):
    page = visit(service)
    files = [photo("cat", 0), photo("cat", 1), photo("koala")]
    assert upload(page, *files) == ["This is Mia", "This is Mia", "This is Kobe"]
    for _ in files:
        page.get_by_role("button", name="Remove", exact=False).first.click()
    assert page.locator(".card").count() == 0
    page.get_by_text("All photos show the same one").click()
    assert upload(page, *files[:2]) == ["This is Mia"]
    assert page.locator(".shot").count() == 2
    before = identities(service)["Mia"]
    press(page, "Yes, this is Mia")
    page.locator(".done").wait_for()
    press(page, "Undo")
    page.locator(".hits").wait_for()
    assert identities(service)["Mia"] == before


def test_a_text_file_is_refused_in_words_and_the_others_are_answered(visit, service, photo, tmp_path):
    page = visit(service, expected=["422"])
    (tmp_path / "notes.txt").write_text("<b>not a photo</b>")
    assert upload(page, tmp_path / "notes.txt", photo("cat")) == ["This is Mia"]
    error = page.locator(".card [role=alert]").inner_text()
    assert "notes.txt" in error and "image" in error
    page.get_by_text("All photos show the same one").click()
    upload(page, tmp_path / "notes.txt", photo("cat"))
    assert "notes.txt" in page.locator(".card").first.get_by_role("alert").inner_text()


def test_dropped_and_pasted_photos_are_answered(visit, service, photo):
    page = visit(service)
    for number, (kind, target) in enumerate([("paste", "body"), ("drop", "#drop"), ("drop", "footer, main")]):
        page.evaluate(TRANSFER, [files_as_data(photo("penguin", number)), "dragenter", target])
        page.evaluate(TRANSFER, [files_as_data(photo("penguin", number)), kind, target])
        page.locator(".card").nth(number).wait_for()
    assert answers(page) == ["This is Pingu"] * 3
    assert page.locator("#drop-veil").is_hidden()


def test_a_sideways_photo_is_upright_and_a_part_of_it_is_marked(visit, service, photo):
    exif = Image.Exif()
    exif[0x112] = 6
    file = photo("bear-face")
    Image.open(file).resize((240, 160)).rotate(90, expand=True).save(file, exif=exif)
    page = visit(service)
    upload(page, file)
    box = page.locator(".shot").bounding_box()
    assert box["width"] > box["height"]
    press(page, "Mark one by hand")
    page.mouse.move(box["x"] + 10, box["y"] + 10)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=3)
    page.mouse.up()
    press(page, "Look it up")
    page.locator(".subject").nth(1).wait_for()
    press(page, "Mark one by hand")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Enter")
    page.locator(".subject").nth(2).wait_for()
    assert page.locator(".frame").all_inner_texts() == ["2", "3"]
    press(page, "Mark one by hand")
    page.keyboard.press("Escape")
    assert page.locator(".frame").count() == 2


def test_several_on_one_photo_have_a_frame_and_an_answer_each(visit, serve, photo):
    page = visit(serve(halves=True))
    shown = upload(page, photo("koala", width=600))
    assert len(shown) == 2 and page.locator(".frame").all_inner_texts() == ["1", "2"]
    left, right = (frame.bounding_box() for frame in page.locator(".frame").all())
    image = page.locator(".shot img").bounding_box()
    assert left["x"] + left["width"] <= right["x"] + 1 <= image["x"] + image["width"]
    page.locator(".frame").nth(1).click()
    assert page.evaluate("document.activeElement.closest('.subject').matches(':nth-child(2)')")
    page.locator(".subject").nth(1).get_by_role("button", name="This is").first.click()
    page.keyboard.press("Enter")
    page.locator(".subject").nth(1).locator(".done").wait_for()
    assert page.locator(".done").count() == 1


FAKE_CAMERA = """() => {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [640, 480];
  const context = canvas.getContext("2d");
  setInterval(() => { context.fillStyle = "#c63"; context.fillRect(0, 0, 640, 480); }, 50);
  navigator.mediaDevices.getUserMedia = async () => (window.stream = canvas.captureStream(20));
}"""


def test_a_camera_takes_photos(visit, service):
    page = visit(service)
    page.evaluate(FAKE_CAMERA)
    press(page, "Take a photo")
    press(page, "Take it", "dialog")
    press(page, "Use it", "dialog")
    assert len(answers(page)) == 1
    decoded = "image => image.decode().then(() => [image.naturalWidth, image.naturalHeight])"
    assert page.locator(".shot img").evaluate(decoded) == [640, 480]
    assert page.evaluate("stream.getTracks().every(track => track.readyState === 'ended')"), (
        "the camera is off"
    )


NO_CAMERA = "() => void Object.defineProperty(navigator, 'mediaDevices', {value: undefined})"
REFUSED = """() => void (navigator.mediaDevices.getUserMedia = () =>
  Promise.reject(new DOMException("", "NotAllowedError")))"""


def test_without_a_camera_or_permission_a_photo_is_chosen(visit, service, photo):
    page = visit(service)
    page.evaluate(REFUSED)
    press(page, "Take a photo")
    dialog(page).get_by_role("alert").wait_for()
    assert "permission was refused" in dialog(page).inner_text()
    with page.expect_file_chooser() as chosen:
        press(page, "Choose photos instead", "dialog")
    chosen.value.set_files(photo("cat"))
    assert answers(page) == ["This is Mia"]
    page.evaluate(NO_CAMERA)
    with page.expect_file_chooser() as chosen:
        press(page, "Take a photo")
    assert chosen.value.element.get_attribute("capture") == "environment"


def test_a_photo_that_is_too_large_is_sent_smaller_and_this_is_said(visit, serve, tmp_path, photo):
    from lookalike.serve.settings import Limits

    page = visit(serve(limits=Limits(max_bytes=20_000, max_pixels=100_000)), expected=["413"])
    large = Image.open(photo("cat")).resize((1200, 1200))
    large.save(tmp_path / "large.png")
    few_bytes = io.BytesIO()
    large.save(few_bytes, "WEBP", quality=1)
    assert len(few_bytes.getvalue()) < 20_000 < (tmp_path / "large.png").stat().st_size
    (tmp_path / "pixels.webp").write_bytes(few_bytes.getvalue())
    assert upload(page, tmp_path / "large.png", tmp_path / "pixels.webp") == ["This is Mia"] * 2
    notes = page.locator(".answers").all_inner_texts()
    assert "accepts 0 MB" in notes[0] or "MB" in notes[0]
    assert "more pixels" in notes[1]
