"""Plausibility of boxes in pixels, judged by the image sizes."""

import numpy as np

SCALES = {100: "percent of the image", 1000: "thousandths of the image"}
"""Full widths other than 1 that tools use, and their units."""
SLACK = 1.02
"""Boxes of detectors commonly extend beyond the image by less than this factor."""
MAX_OUTSIDE = 0.25
"""Maximum share of boxes that extend beyond their images."""
MARGIN = 1.5
"""If all images are this many times larger than a scale, boxes within it are not plausible as pixels."""


def pixel_doubt(corners: np.ndarray, sizes: np.ndarray) -> str | None:
    """Why boxes x1 y1 x2 y2 [N, 4] are probably not pixels of images of width, height [N, 2].

    Rows without finite numbers are ignored. None if pixels are plausible.
    """
    is_known = np.isfinite(corners).all(1) & np.isfinite(sizes).all(1)
    ends, sizes = corners[is_known, 2:], sizes[is_known]
    if not len(ends):
        return None
    outside = (ends > SLACK * sizes + 2).any(1)
    if outside.sum() >= min(2, len(ends)) and outside.mean() > MAX_OUTSIDE:
        row = int(np.argmax(outside))
        shown = " ".join(f"{number:g}" for number in corners[is_known][row])
        width, height = sizes[row]
        return (
            f"{outside.sum():,} of {len(ends):,} boxes extend beyond their images, such as {shown} in an "
            f"image of {width:g} × {height:g} pixels"
        )
    largest = ends.max()
    for scale, unit in SCALES.items():
        if len(ends) > 1 and scale / 2 < largest <= scale and sizes.min() >= MARGIN * scale:
            return (
                f"no box extends beyond {largest:g}, although every image has at least {sizes.min():g} "
                f"pixels on each side, so the numbers may be {unit}"
            )
    return None


def possible_scales(numbers: np.ndarray) -> list[int]:
    """The scales that contain all values."""
    largest = np.nanmax(numbers, initial=0)
    return [scale for scale in SCALES if largest <= scale * 1.001]
