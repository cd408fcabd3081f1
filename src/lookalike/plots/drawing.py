"""Draw text and images onto images, with the font that ships with matplotlib, so that all machines agree."""

from collections.abc import Sequence
from functools import cache
from itertools import groupby
from pathlib import Path

import matplotlib
from matplotlib.font_manager import FontProperties, findfont
from PIL import Image, ImageDraw, ImageFont

from lookalike.plots.letters import OWN_FONT, fonts_for, missing_letters, warn_of_letters
from lookalike.plots.shortening import fitted_names, in_lines

_warned_letters: set[str] = set()


class Letters:
    """DejaVu Sans at a size in pixels, with installed fallback fonts for characters that it lacks."""

    def __init__(self, size: int, bold: bool = False):
        self.size, self.bold = size, bold

    def getlength(self, text: str) -> float:
        """Width of a line of text, in pixels."""
        return sum(font.getlength(part) for part, font in self.parts(text))

    def write(self, draw: ImageDraw.ImageDraw, position: tuple[float, float], text: str, fill: str) -> None:
        """Draw a line of text; `position` is its upper left corner."""
        across, top = position
        base = top + _font(OWN_FONT, self.size, self.bold).getmetrics()[0]
        for part, font in self.parts(text):
            draw.text((across, base), part, fill=fill, font=font, anchor="ls")
            across += font.getlength(part)

    def parts(self, text: str) -> list[tuple[str, ImageFont.FreeTypeFont]]:
        """Split the text into parts, each with a font that has its characters."""
        names, _ = fonts_for(text)

        def font_with_letter(letter: str) -> str:
            return next((name for name in names if letter in missing_letters(name)), OWN_FONT)

        return [
            ("".join(part), _font(name, self.size, self.bold))
            for name, part in groupby(text, font_with_letter)
        ]


@cache
def font(size: int, bold: bool = False) -> Letters:
    """The font of the plots at a size in pixels."""
    return Letters(size, bold)


@cache
def _font(name: str, size: int, bold: bool) -> ImageFont.FreeTypeFont:
    if name != OWN_FONT:
        return ImageFont.truetype(findfont(FontProperties(family=name)), size)
    file = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / file, size)


def escape_missing_letters(text: str) -> str:
    """The text with escapes for characters that no installed font has; a warning is logged once."""
    _, missing = fonts_for(text)
    if missing - _warned_letters:
        warn_of_letters(missing - _warned_letters, "written as escapes")
        _warned_letters.update(missing)
    escapes = {ord(letter): letter.encode("ascii", "backslashreplace").decode() for letter in missing}
    return text.translate(escapes)


def fit_text(text: object, width: float, letters: Letters) -> str:
    """The text on one line, with a middle ellipsis if it is wider than `width` pixels."""
    return fitted_each([text], width, letters)[0]


def fitted_each(texts: Sequence[object], width: float, letters: Letters, lines: int = 1) -> list[str]:
    """Texts that stand together, each on so many lines at most `width` wide; see `plots.shortening`."""
    known = [escape_missing_letters(str(text)) for text in texts]
    return fitted_names(known, lambda text: in_lines(text, width, letters.getlength, lines))


def fit_image(image: Image.Image, side: int) -> Image.Image:
    """The image in RGB with its longer side resized to `side` pixels; both sides are at least 1 pixel."""
    scale = side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
