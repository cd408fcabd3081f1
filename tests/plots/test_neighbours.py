import numpy as np
import pytest
from PIL import Image, ImageColor

from lookalike.plots.drawing import fit_text, font
from lookalike.plots.neighbours import gallery
from lookalike.plots.style import DIFFERENT, SAME


def count(picture, colour):
    return int((np.asarray(picture) == ImageColor.getrgb(colour)).all(axis=2).sum())


def square(colour="white", size=(30, 20)):
    return Image.new("RGB", size, colour)


def test_right_and_wrong_differ_in_colour_and_in_form():
    right = gallery([(square(), [(square(), "a", 0.9, True)])])
    wrong = gallery([(square(), [(square(), "a", 0.9, False)])])
    unknown = gallery([(square(), [(square(), "a", 0.9, None)])])
    assert count(right, SAME) and not count(right, DIFFERENT)
    assert count(wrong, DIFFERENT) and not count(wrong, SAME)
    assert not count(unknown, SAME) and not count(unknown, DIFFERENT)
    assert count(right, SAME) > 1.3 * count(wrong, DIFFERENT), "dashes leave gaps"


def test_a_wrong_decision_is_marked_below_its_query():
    made = [gallery([(square(), [])], ["a"], decisions=[("called same", right)]) for right in (True, False)]
    assert count(made[0], SAME) and not count(made[0], DIFFERENT)
    assert count(made[1], DIFFERENT) and not count(made[1], SAME)


def test_rows_may_differ_in_length_and_images_in_shape():
    hits = [(square("red", (400, 3)), "a" * 200, 0.5, True), (square("blue", (1, 1)), "", -0.1, False)]
    sheet = gallery([(square(), hits), (square(), [])], captions=["one", "two"], side=64)
    assert count(sheet, "red") and count(sheet, "blue")


def test_the_sheet_grows_with_rows_and_hits():
    hit = (square(), "a", 1.0, True)
    one, two = gallery([(square(), [hit])]), gallery([(square(), [hit] * 3)] * 2)
    assert two.width > one.width and two.height > one.height


@pytest.mark.parametrize(("rows", "captions"), [([], []), ([(square(), [])], ["a", "b"])])
def test_what_does_not_fit_is_refused(rows, captions):
    with pytest.raises(ValueError, match="gallery"):
        gallery(rows, captions)


def test_long_names_are_cut_and_lines_joined():
    letters = font(14)
    assert fit_text("short", 200, letters) == "short"
    assert fit_text("two\nlines", 200, letters) == "two lines"
    cut = fit_text("x" * 500, 100, letters)
    assert cut.strip("x") == "…" and letters.getlength(cut) <= 100
