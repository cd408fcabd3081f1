"""Letters that the plots' font lacks."""

import io
import logging

import pytest
from matplotlib.font_manager import FontProperties, findfont, get_font

from lookalike.plots import letters
from lookalike.plots.style import new_figure


def saved(text):
    figure = new_figure(3, 1)
    figure.text(0.1, 0.5, text)
    with letters.legible(figure):
        figure.savefig(io.BytesIO(), format="png")
    return figure.texts[0]


def test_letters_come_from_another_font_that_has_them(monkeypatch, caplog):
    charmap = get_font(findfont(FontProperties(family="STIXGeneral"))).get_charmap()
    lacking = next(c for c in map(chr, sorted(charmap)) if c not in letters.letters_of("DejaVu Sans"))
    monkeypatch.setattr(letters, "OTHERS", ("No Such Font", "STIXGeneral"))
    with caplog.at_level(logging.WARNING):
        assert saved(f"a{lacking}").get_fontfamily() == ["DejaVu Sans", "STIXGeneral"]
    assert not caplog.records


@pytest.mark.parametrize(("text", "font"), [("漢字", "fonts-noto-cjk"), ("\U0001fae0", "fonts-symbola")])
def test_letters_that_no_font_has_are_named_once(monkeypatch, caplog, recwarn, text, font):
    monkeypatch.setattr(letters, "OTHERS", ())
    with caplog.at_level(logging.WARNING):
        saved(text)
    (said,) = [record.getMessage() for record in caplog.records]
    assert "".join(sorted(text)) in said and font in said
    assert not [each for each in recwarn if "Glyph" in str(each.message)]


def test_usual_letters_keep_their_font(caplog):
    assert saved("Ünïcode $5 ✓\nnext").get_fontfamily() == ["sans-serif"]
    assert not caplog.records
