"""From a picture to square crops of what is wanted in it: found, chosen, turned upright, cut out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Gt
from PIL import Image

from lookalike.detect.detection import Detection, Detector
from lookalike.detect.geometry import Template, aligning_similarity, squaring_similarity
from lookalike.detect.warping import warp_image

Which = Literal["largest", "central", "all"]
Missing = Literal["leave_out", "keep"]
Format = Literal["jpg", "png"]
Box = tuple[int, int, int, int]
Size = Annotated[int, Ge(1)]
Margin = Annotated[float, Gt(-0.5)]


@dataclass(frozen=True)
class Crops:
    """Squares of what a detector finds.

    What comes with landmarks is turned so that the eyes are level, and moved to where they belong; anything
    else is shown in an upright square around its box. Both are black where the picture ends.

    Attributes:
        detector: finds things in a picture.
        size: side of each square, in pixels.
        template: where landmarks go: both eyes exactly to `eyes`, or all five near those of ArcFace.
        eyes: where the left one of the two eyes goes, as shares of the side; the right one is its mirror
            image.
        margin: added around a box without landmarks on each side, as a share of its longer side.
        which: of several: the largest box, the one nearest to the middle of the picture, or all, largest
            first.
        missing: where nothing is found: leave the picture out, or keep it whole.
        format: of the files written: jpg (quality 95, colours at full size) or png.
    """

    detector: Detector
    size: Size = 240
    template: Template = "eyes"
    eyes: tuple[float, float] = (0.35, 0.4)
    margin: Margin = 0.1
    which: Which = "largest"
    missing: Missing = "leave_out"
    format: Format = "jpg"
    nothing: ClassVar[str] = "nothing was found in it"

    def __post_init__(self) -> None:
        if not (0 <= self.eyes[0] < 0.5 and 0 <= self.eyes[1] <= 1):
            raise ValueError(
                f"eyes={list(self.eyes)}: the left eye's x is at least 0 and less than 0.5, y from 0 to 1"
            )

    def find(self, image: Image.Image, box: Box | None) -> list[Detection]:
        """All that the detector finds in an upright RGB picture, or in a part of it."""
        if box is None:
            return list(self.detector(np.asarray(image)))
        return [detection.shift(*box[:2]) for detection in self.detector(np.asarray(image.crop(box)))]

    def crop(self, image: Image.Image, detection: Detection) -> Image.Image:
        """The square of one detection."""
        if detection.landmarks is None:
            return square_crop(image, detection.box, self.margin, self.size)
        return warp_image(
            image, aligning_similarity(detection.landmarks, self.template, self.size, self.eyes), self.size
        )


@dataclass(frozen=True)
class Boxes:
    """Squares around the boxes that the table gives, black where the picture ends.

    Attributes:
        size: side of each square, in pixels.
        margin: added around a box on each side, as a share of its longer side.
        missing: rows without a box: leave them out, or keep the whole picture.
        format: of the files written: jpg (quality 95, colours at full size) or png.
    """

    size: Size = 240
    margin: Margin = 0.0
    missing: Missing = "leave_out"
    format: Format = "jpg"
    which: ClassVar[Which] = "all"
    nothing: ClassVar[str] = "its row has no box"

    def find(self, image: Image.Image, box: Box | None) -> list[Detection]:
        """The box that the row has, if it has one."""
        if box is None:
            return []
        x1, y1, x2, y2 = map(float, box)
        return [Detection((x1, y1, x2, y2))]

    def crop(self, image: Image.Image, detection: Detection) -> Image.Image:
        """The square of one box."""
        return square_crop(image, detection.box, self.margin, self.size)


Cropping = Crops | Boxes


def no_cropping() -> None:
    """Leave pictures as they are."""


def square_crop(
    image: Image.Image, box: tuple[float, float, float, float], margin: float, size: int
) -> Image.Image:
    """The smallest square around a box and its margin, in `size` pixels, black where the picture ends."""
    return warp_image(image, squaring_similarity(box, margin, size), size)


def whole_image_square(image: Image.Image, box: Box | None, size: int) -> Image.Image:
    """All of a picture, or of the box in it, made square with black bars."""
    part = image if box is None else image.crop(box)
    return square_crop(part, (0, 0, part.width, part.height), 0, size)


def select_detections(
    detections: Sequence[Detection], choice: Which, area: tuple[float, float, float, float]
) -> list[Detection]:
    """Those wanted of several, largest first; equals in the order in which they were found.

    Args:
        detections: what a detector gave.
        choice: the largest, the one whose middle is nearest to that of `area`, or all.
        area: the part of the picture that was looked at, x1 y1 x2 y2.
    """
    largest = sorted(detections, key=lambda detection: -detection.area)
    if choice == "all":
        return largest
    if choice == "largest":
        return largest[:1]
    x, y = (area[0] + area[2]) / 2, (area[1] + area[3]) / 2
    return sorted(
        largest, key=lambda detection: (detection.centre[0] - x) ** 2 + (detection.centre[1] - y) ** 2
    )[:1]
