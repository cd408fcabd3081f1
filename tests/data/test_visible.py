"""Characters that turn text around are seen wherever a name is shown."""

import pytest

from lookalike.data.html import card
from lookalike.data.visible import visible
from lookalike.explore.page import render
from lookalike.plots.drawing import fitted, font
from lookalike.plots.text import brief

TURNED = "".join(f"{sign}gnp.exe" for sign in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


@pytest.mark.parametrize(
    "shown",
    [
        visible,
        lambda text: brief(text, 99),
        lambda text: fitted(text, 9999, font(12)),
        lambda text: card("data:,", text, text),
        lambda text: render(text, text, "", []),
    ],
)
def test_no_sign_turns_text(shown):
    page = shown(TURNED)
    assert page.count("\N{REPLACEMENT CHARACTER}gnp.exe") >= 9
    assert not any(sign in page for sign in TURNED if ord(sign) > 127)


def test_names_of_right_to_left_scripts_stay():
    assert visible("قطة, כלב, cat\u200f, é") == "قطة, כלב, cat\u200f, é"
