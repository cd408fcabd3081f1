"""Rotate and resize a region of an image without aliasing."""

import math

import numpy as np
from PIL import Image

from lookalike.detect.geometry import Similarity

FINER = 2
"""Oversampling of the rotation, so that its blur is not visible. Pillow's cubic interpolation would be
sharper, but it shifts the image by up to a tenth of a pixel."""
GAP = 3


def warp_image(image: Image.Image, move: Similarity, size: int) -> Image.Image:
    """Warp the image to a square of `size` pixels; black outside the image.

    Args:
        image: RGB.
        move: transform from image coordinates to those of the square; both start at the upper left corner,
            so the centre of the first pixel is (0.5, 0.5).
        size: side of the square.
    """
    back = move.inverse()
    return (
        _resize_only(image, back, size)
        if back.turn.imag == 0 < back.turn.real
        else _rotate_and_resize(image, back, size)
    )


def _resize_only(image: Image.Image, back: Similarity, size: int) -> Image.Image:
    """Without rotation: one resize, and black borders of whole pixels."""
    canvas = Image.new("RGB", (size, size))
    step, start = back.turn.real, (back.shift.real, back.shift.imag)
    low = [max(0, round(-coordinate / step)) for coordinate in start]
    high = [
        min(size, round((side - coordinate) / step))
        for side, coordinate in zip(image.size, start, strict=True)
    ]
    if low[0] >= high[0] or low[1] >= high[1]:
        return canvas
    x1, y1 = (max(0, coordinate + step * offset) for coordinate, offset in zip(start, low, strict=True))
    x2, y2 = (
        min(side, coordinate + step * offset)
        for side, coordinate, offset in zip(image.size, start, high, strict=True)
    )
    shape = (high[0] - low[0], high[1] - low[1])
    canvas.paste(
        image.resize(shape, Image.Resampling.LANCZOS, (x1, y1, x2, y2), reducing_gap=GAP), (low[0], low[1])
    )
    return canvas


def _rotate_and_resize(image: Image.Image, back: Similarity, size: int) -> Image.Image:
    """Resize the visible region with antialiasing first, then rotate it with linear interpolation."""
    region = _region(image, back, size)
    if region is None:
        return Image.new("RGB", (size, size))
    x1, y1, x2, y2 = region
    scale = FINER / abs(back.turn)
    width, height = max(1, round((x2 - x1) * scale)), max(1, round((y2 - y1) * scale))
    part = image.resize((width, height), Image.Resampling.BICUBIC, region, reducing_gap=GAP)
    across, down = width / (x2 - x1), height / (y2 - y1)
    turn, start = back.turn / FINER, back.shift - complex(x1, y1)
    coordinates = (
        *(turn.real * across, -turn.imag * across, start.real * across),
        *(turn.imag * down, turn.real * down, start.imag * down),
    )
    fine = (FINER * size, FINER * size)
    return part.transform(fine, Image.Transform.AFFINE, coordinates, Image.Resampling.BILINEAR).reduce(FINER)


def _region(image: Image.Image, back: Similarity, size: int) -> tuple[int, int, int, int] | None:
    """The smallest region of the image, in whole pixels, that contains what the square shows."""
    corners = back(np.array([[0, 0], [size, 0], [0, size], [size, size]]))
    reach = 2 * max(abs(back.turn), 1)
    low, high = corners.min(axis=0) - reach, corners.max(axis=0) + reach
    x1, y1 = (max(0, math.floor(coordinate)) for coordinate in low)
    x2, y2 = (min(side, math.ceil(coordinate)) for side, coordinate in zip(image.size, high, strict=True))
    return (x1, y1, x2, y2) if x1 < x2 and y1 < y2 else None
