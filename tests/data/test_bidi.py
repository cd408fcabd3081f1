"""Characters that turn text around are seen wherever a name is shown."""

import pytest

from lookalike.data.bidi import show_bidi_controls
from lookalike.data.html import card
from lookalike.explore.page import render
from lookalike.plots.drawing import fit_text, font
from lookalike.plots.text import shorten_name

TURNED = "".join(f"{sign}gnp.exe" for sign in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


@pytest.mark.parametrize(
    "shown",
    [
        show_bidi_controls,
        lambda text: shorten_name(text, 999),
        lambda text: fit_text(text, 9999, font(12)),
        lambda text: card("data:,", text, text),
        lambda text: render(text, text, "", []),
    ],
)
def test_no_sign_turns_text(shown):
    page = shown(TURNED)
    assert page.count("\N{REPLACEMENT CHARACTER}gnp.exe") >= 9
    assert not any(sign in page for sign in TURNED if ord(sign) > 127)


def test_names_of_right_to_left_scripts_stay():
    assert show_bidi_controls("قطة, כלב, cat\u200f, é") == "قطة, כלב, cat\u200f, é"
