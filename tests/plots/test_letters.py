"""Letters that the plots' font lacks."""

import io
import logging

import pytest
from matplotlib.font_manager import FontProperties, findfont, get_font
from PIL import Image, ImageDraw, ImageOps

from lookalike.plots import drawing, letters
from lookalike.plots.style import new_figure


def save_figure_text(text):
    figure = new_figure(3, 1)
    figure.text(0.1, 0.5, text)
    with letters.is_legible(figure):
        figure.savefig(io.BytesIO(), format="png")
    return figure.texts[0]


@pytest.fixture
def lacking(monkeypatch):
    """A letter that only the other one of two fonts has."""
    charmap = get_font(findfont(FontProperties(family="STIXGeneral"))).get_charmap()
    monkeypatch.setattr(letters, "OTHERS", ("No Such Font", "STIXGeneral"))
    return next(c for c in map(chr, sorted(charmap)) if c not in letters.missing_letters("DejaVu Sans"))


def test_letters_come_from_another_font_that_has_them(lacking, caplog):
    with caplog.at_level(logging.WARNING):
        assert save_figure_text(f"a{lacking}").get_fontfamily() == ["DejaVu Sans", "STIXGeneral"]
    assert not caplog.records


@pytest.mark.parametrize(("text", "font"), [("漢字", "fonts-noto-cjk"), ("\U0001fae0", "fonts-symbola")])
def test_letters_that_no_font_has_are_named_once(monkeypatch, caplog, recwarn, text, font):
    monkeypatch.setattr(letters, "OTHERS", ())
    with caplog.at_level(logging.WARNING):
        save_figure_text(text)
    (said,) = [record.getMessage() for record in caplog.records]
    assert "".join(sorted(text)) in said and font in said
    assert not [each for each in recwarn if "Glyph" in str(each.message)]


def test_usual_letters_keep_their_font(caplog):
    assert save_figure_text("Ünïcode $5 ✓\nnext").get_fontfamily() == ["sans-serif"]
    assert not caplog.records


@pytest.mark.parametrize("bold", [False, True])
def test_on_pictures_too_letters_come_from_a_font_that_has_them(lacking, caplog, bold):
    own = drawing.font(20, bold)
    assert drawing.fit_text(f"a{lacking}b", 200, own) == f"a{lacking}b"
    assert [(part, font.getname()[0]) for part, font in own.parts(f"ab{lacking}c")] == [
        ("ab", "DejaVu Sans"),
        (lacking, "STIXGeneral"),
        ("c", "DejaVu Sans"),
    ]
    picture, plain = Image.new("RGB", (200, 40), "white"), Image.new("RGB", (200, 40), "white")
    own.write(ImageDraw.Draw(picture), (5, 5), f"a{lacking}b", "black")
    own.write(ImageDraw.Draw(plain), (5, 5), "ab", "black")
    wide, narrow = (ImageOps.invert(each.convert("L")).getbbox() for each in (picture, plain))
    assert wide[2] - narrow[2] == pytest.approx(own.getlength(lacking), abs=2)
    assert not caplog.records


def test_on_pictures_letters_that_no_font_has_are_spelt_out(monkeypatch, caplog):
    monkeypatch.setattr(letters, "OTHERS", ())
    monkeypatch.setattr(drawing, "_warned_letters", set())
    for _ in range(2):
        assert drawing.fit_text("猫 é \U0001fae0", 300, drawing.font(12)) == r"\u732b é \U0001fae0"
    (said,) = [record.getMessage() for record in caplog.records]
    assert "escapes" in said and "fonts-noto-cjk" in said and "fonts-symbola" in said


def test_text_is_cut_in_the_middle_where_it_no_longer_fits():
    own, text = drawing.font(13), "Wide Words in a Name"
    for width in range(20, 200):
        cut = drawing.fit_text(text, width, own)
        assert own.getlength(cut) <= width or len(cut) <= 2
        if cut != text:
            head, tail = cut.split("…")
            assert text.startswith(head) and text.endswith(tail) and abs(len(head) - len(tail)) <= 2
            longer = f"{text[: len(head) + 2]}…{text[len(text) - len(tail) - 2 :]}"
            assert own.getlength(longer) > width, "as much as fits"
