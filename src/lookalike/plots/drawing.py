"""Text and pictures on pictures; the font is the one that matplotlib carries, the same on every machine."""

from functools import cache
from pathlib import Path

import matplotlib
from PIL import Image, ImageFont

from lookalike.data.visible import visible


@cache
def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans of this many pixels."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name, size)


def fitted(text: str, width: float, letters: ImageFont.FreeTypeFont) -> str:
    """The text on one line, cut with an ellipsis where it is wider than `width` pixels."""
    text = visible(" ".join(text.split()))
    if letters.getlength(text) <= width:
        return text
    while text and letters.getlength(f"{text}…") > width:
        text = text[:-1]
    return f"{text.rstrip()}…"


def contained(image: Image.Image, side: int) -> Image.Image:
    """The image in RGB, its longer side made `side` pixels; never thinner than one pixel."""
    scale = side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
