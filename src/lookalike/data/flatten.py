"""Conversion to 8-bit RGB: higher bit depths are scaled, transparency is composited on white."""

import numpy as np
from PIL import Image, TiffImagePlugin

DEEP = 65535


class UnsupportedError(Exception):
    """Unsupported pixel format; the text is the reason."""


def with_alpha(
    image: Image.Image,
    key: tuple[int, ...] | None = None,
    bits: int = 8,
    low: np.ndarray | None = None,
) -> Image.Image:
    """The image in 8 bits, with an alpha channel if one grey value or colour is transparent.

    Args:
        image: decoded. 16-bit grey is scaled (Pillow would clip it at 255).
        key: the transparent grey value or colour, as stored; None for that of Pillow.
        bits: bit depth of `key`.
        low: the lower bytes of 16-bit colours, of which Pillow keeps the upper ones, [H, W, 3].
    """
    if key is None and "transparency" in image.info and image.mode in ("1", "L", "I;16", "RGB"):
        key, bits = _of_pillow(image)
    alpha = None if key is None else _alpha(image, key, bits, low)
    image = _eight_bits(image)
    if alpha is None:
        return image
    bands = image.convert("L" if image.mode in ("1", "L") else "RGB").split()
    return Image.merge("LA" if len(bands) == 1 else "RGBA", (*bands, alpha))


def over_white(image: Image.Image) -> Image.Image:
    """RGB, with transparency composited on white.

    Raises:
        UnsupportedError: the pixel format has no fixed white level, or Pillow cannot convert it.
    """
    if image.mode in ("I", "F"):
        raise UnsupportedError(
            f"32-bit pixels (mode {image.mode}) have no fixed white level: save it with 8 or 16 bits per "
            f"channel"
        )
    try:
        if image.mode == "La":
            image = image.convert("LA")  # Pillow cannot convert directly to RGBA
        if image.has_transparency_data:
            image = image.convert("RGBA")
            canvas = Image.new("RGB", image.size, "white")
            canvas.paste(image, mask=image.getchannel("A"))
            return canvas
        return image if image.mode == "RGB" else image.convert("RGB")
    except ValueError:
        raise UnsupportedError(
            f"pixels of mode {image.mode} are not supported: save it as RGB with 8 bits per channel"
        ) from None


def _of_pillow(image: Image.Image) -> tuple[tuple[int, ...] | None, int]:
    """The transparent value of an image that Pillow has opened, and its bit depth."""
    value = image.info["transparency"]
    key = tuple(value) if isinstance(value, tuple) else (value,)
    if not all(isinstance(each, int) for each in key) or len(key) != (3 if image.mode == "RGB" else 1):
        return None, 8
    if image.mode == "1":
        return (int(key[0] > 0),), 1
    return key, 16 if image.mode == "I;16" or max(key) > 255 else 8


def _alpha(image: Image.Image, key: tuple[int, ...], bits: int, low: np.ndarray | None) -> Image.Image:
    """Alpha channel: 0 where a pixel has the transparent value, otherwise 255."""
    values = np.asarray(image)
    if image.mode.startswith("I;16"):
        same = values == key[0]
    elif image.mode == "1":
        same = values == bool(key[0])
    elif values.ndim == 2:
        same = values == (key[0] * (255 // ((1 << bits) - 1)) if bits <= 8 else key[0] >> 8)
    else:
        upper = [value >> 8 for value in key] if bits == 16 else list(key)
        same = (values == upper).all(axis=-1)
        if low is not None:
            same &= (low == [value & 255 for value in key]).all(axis=-1)
    return Image.fromarray(np.where(same, 0, 255).astype(np.uint8))


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scale 16-bit grey to 8 bits, accounting for 12-bit TIFFs and for netpbm, which Pillow has scaled."""
    if image.mode == "I" and image.format == "PPM":
        return Image.fromarray(np.rint(np.asarray(image) * (255 / DEEP)).astype(np.uint8))
    if not image.mode.startswith("I;16"):
        return image
    tags = getattr(image, "tag_v2", {})
    white = 4095 if tags.get(TiffImagePlugin.BITSPERSAMPLE) == (12,) else DEEP
    scale = np.minimum(np.arange(DEEP + 1) / white, 1)
    if tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0:
        scale = 1 - scale  # in this TIFF, 0 is white
    return Image.fromarray(np.rint(scale * 255).astype(np.uint8)[np.asarray(image)])
