"""Fallback fonts for characters that the default font lacks, and warnings for missing ones."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font
from matplotlib.text import Text

log = logging.getLogger(__name__)
OWN_FONT = "DejaVu Sans"
OTHERS = (
    *(f"Noto Sans CJK {script}" for script in ("SC", "JP", "KR", "TC")),
    *("WenQuanYi Zen Hei", "WenQuanYi Micro Hei", "Droid Sans Fallback", "Arial Unicode MS"),
    *("Hiragino Sans", "PingFang SC", "Apple SD Gothic Neo", "Microsoft YaHei", "Yu Gothic", "Malgun Gothic"),
    *(
        "Noto Emoji",
        "Symbola",
        "Segoe UI Symbol",
        "Segoe UI Emoji",
        "Noto Sans Symbols",
        "Noto Sans Symbols2",
    ),
    *(
        "Noto Sans",
        "Noto Sans Devanagari",
        "Noto Sans Bengali",
        "Noto Sans Tamil",
        "Noto Sans Thai",
        "Unifont",
    ),
)
"""Monochrome fonts with wide coverage; those that are installed are tried in this order."""
MAX_LETTERS = 20


@contextmanager
def is_legible(figure: Figure) -> Iterator[None]:
    """Set fallback fonts for the texts of a figure before it is saved; warn once of missing characters."""
    texts = [text for text in figure.findobj(Text) if isinstance(text, Text)]
    strange = [text for text in texts if set(text.get_text()) - missing_letters(OWN_FONT)]
    fonts, missing = fonts_for("".join(text.get_text() for text in strange))
    for text in strange:
        text.set_fontfamily(fonts)
    if missing:
        warn_of_letters(missing, "drawn as boxes")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        yield


def fonts_for(text: str) -> tuple[list[str], set[str]]:
    """Names of fonts that together cover a text, the default first; and characters that none has."""
    missing = {letter for letter in text if letter.isprintable()} - missing_letters(OWN_FONT)
    fonts = [OWN_FONT]
    for name in installed_fonts() if missing else ():
        if missing & missing_letters(name):
            fonts.append(name)
            missing -= missing_letters(name)
    return fonts, missing


def installed_fonts() -> list[str]:
    """The fonts of `OTHERS` that matplotlib finds."""
    names = {font.name for font in fontManager.ttflist}
    return [name for name in OTHERS if name in names]


@cache
def missing_letters(name: str) -> frozenset[str]:
    """The characters that a font has, and line ends."""
    font = get_font(findfont(FontProperties(family=name)))
    return frozenset(map(chr, font.get_charmap())) | {"\n"}


def warn_of_letters(missing: set[str], instead: str) -> None:
    """Log which characters no font has, what replaces them, and what to install."""
    some, more = "".join(sorted(missing)[:MAX_LETTERS]), " …" * (len(missing) > MAX_LETTERS)
    log.warning(
        "no installed font has the characters %s%s, %s; install %s", some, more, instead, font_advice(missing)
    )


def font_advice(missing: set[str]) -> str:
    """Fonts that have such characters."""
    emoji = {letter for letter in missing if ord(letter) >= 0x1F000 and ord(letter) < 0x20000}
    cjk = {letter for letter in missing - emoji if 0x2E80 <= ord(letter) <= 0xFFEF or ord(letter) >= 0x20000}
    named = [
        *(["Noto Sans CJK (Debian: fonts-noto-cjk)"] if cjk else []),
        *(["Noto Emoji or Symbola (Debian: fonts-symbola)"] if emoji else []),
        *(["Noto Sans of that script (Debian: fonts-noto-core)"] if missing - emoji - cjk else []),
    ]
    return " and ".join(named)
