"""From an image to square crops: detection, selection, rotation and cropping."""

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
    """Square crops of the detections of a detector.

    Detections with landmarks are rotated and moved so that the eyes are level at fixed positions; others are
    cropped to an upright square around the box. Areas outside the image are black.

    Attributes:
        detector: returns the detections in an image.
        size: side of each square, in pixels.
        template: target of the landmarks: both eyes exactly at `eyes`, or all five close to those of ArcFace.
        eyes: position of the left eye, as fractions of the side; the right one is mirrored.
        margin: added on each side of a box without landmarks, as a fraction of its longer side.
        which: of several detections: the largest, the one nearest to the centre, or all, largest first.
        missing: images without a detection: leave them out, or keep them whole.
        format: of the files: jpg (quality 95, no chroma subsampling) or png.
    """

    detector: Detector
    size: Size = 240
    template: Template = "eyes"
    eyes: tuple[float, float] = (0.35, 0.4)
    margin: Margin = 0.1
    which: Which = "largest"
    missing: Missing = "leave_out"
    format: Format = "jpg"
    nothing: ClassVar[str] = "nothing was detected in it"

    def __post_init__(self) -> None:
        if not (0 <= self.eyes[0] < 0.5 and 0 <= self.eyes[1] <= 1):
            raise ValueError(
                f"eyes={list(self.eyes)}: the left eye's x is at least 0 and less than 0.5, y from 0 to 1"
            )

    def find(self, image: Image.Image, box: Box | None) -> list[Detection]:
        """All detections in an upright RGB image, or in a region of it."""
        if box is None:
            return list(self.detector(np.asarray(image)))
        return [detection.shift(*box[:2]) for detection in self.detector(np.asarray(image.crop(box)))]

    def crop(self, image: Image.Image, detection: Detection) -> Image.Image:
        """The crop of one detection."""
        if detection.landmarks is None:
            return square_crop(image, detection.box, self.margin, self.size)
        return warp_image(
            image, aligning_similarity(detection.landmarks, self.template, self.size, self.eyes), self.size
        )


@dataclass(frozen=True)
class Boxes:
    """Square crops around the boxes of the table, black outside the image.

    Attributes:
        size: side of each square, in pixels.
        margin: added on each side of a box, as a fraction of its longer side.
        missing: rows without a box: leave them out, or keep the whole image.
        format: of the files: jpg (quality 95, no chroma subsampling) or png.
    """

    size: Size = 240
    margin: Margin = 0.0
    missing: Missing = "leave_out"
    format: Format = "jpg"
    which: ClassVar[Which] = "all"
    nothing: ClassVar[str] = "its row has no box"

    def find(self, image: Image.Image, box: Box | None) -> list[Detection]:
        """The box of the row, if it has one."""
        if box is None:
            return []
        x1, y1, x2, y2 = map(float, box)
        return [Detection((x1, y1, x2, y2))]

    def crop(self, image: Image.Image, detection: Detection) -> Image.Image:
        """The crop of one box."""
        return square_crop(image, detection.box, self.margin, self.size)


Cropping = Crops | Boxes


def no_cropping() -> None:
    """Use the images as they are."""


def square_crop(
    image: Image.Image, box: tuple[float, float, float, float], margin: float, size: int
) -> Image.Image:
    """The smallest square around a box and its margin, in `size` pixels, black outside the image."""
    return warp_image(image, squaring_similarity(box, margin, size), size)


def whole_image_square(image: Image.Image, box: Box | None, size: int) -> Image.Image:
    """The whole image, or box, padded to a square with black."""
    part = image if box is None else image.crop(box)
    return square_crop(part, (0, 0, part.width, part.height), 0, size)


def select_detections(
    detections: Sequence[Detection], choice: Which, area: tuple[float, float, float, float]
) -> list[Detection]:
    """Select among several detections, largest first; equal ones keep their order.

    Args:
        detections: of one image.
        choice: the largest, the one whose centre is nearest to that of `area`, or all.
        area: the searched region of the image, x1 y1 x2 y2.
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
