"""The interface of detectors: from the pixels of an image to detections."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True, eq=False)
class Detection:
    """One detection in an image.

    Coordinates are pixels of the image, measured from its upper left corner: the centre of the first pixel is
    (0.5, 0.5).

    Attributes:
        box: x1, y1, x2, y2; may extend beyond the image.
        score: confidence; higher is better.
        landmarks: [K, 2] x and y, or None. The first two are the eyes; five are those of ArcFace: the eye on
            the left of an upright image, the other eye, the tip of the nose, the corners of the mouth from
            left to right.
    """

    box: tuple[float, float, float, float]
    score: float = 1.0
    landmarks: np.ndarray | None = None

    def __post_init__(self) -> None:
        x1, y1, x2, y2 = self.box
        if not (np.isfinite(self.box).all() and x1 < x2 and y1 < y2):
            raise ValueError(f"box {tuple(self.box)}: must be finite x1 y1 x2 y2 with x1 < x2 and y1 < y2")
        if self.landmarks is not None:
            points = np.asarray(self.landmarks, np.float64)
            if points.ndim != 2 or points.shape[1] != 2 or len(points) < 2 or not np.isfinite(points).all():
                raise ValueError(f"landmarks of shape {points.shape}: must be finite numbers [K, 2], K ≥ 2")
            object.__setattr__(self, "landmarks", points)

    @property
    def area(self) -> float:
        """Of the box, in pixels."""
        x1, y1, x2, y2 = self.box
        return (x2 - x1) * (y2 - y1)

    @property
    def centre(self) -> tuple[float, float]:
        """Of the box."""
        x1, y1, x2, y2 = self.box
        return (x1 + x2) / 2, (y1 + y2) / 2

    def shift(self, across: float, down: float) -> "Detection":
        """The detection in the coordinates of a larger image, of which this one is a crop at this offset."""
        x1, y1, x2, y2 = self.box
        points = None if self.landmarks is None else self.landmarks + np.array([across, down])
        return Detection((x1 + across, y1 + down, x2 + across, y2 + down), self.score, points)


class Detector(Protocol):
    """Any callable that takes an image: a function, or an instance of your own class."""

    def __call__(self, image: np.ndarray) -> Sequence[Detection]:
        """The detections in an image, uint8 [H, W, 3], RGB."""
        ...


def suppress_overlapping(detections: Sequence[Detection], max_overlap: float) -> list[Detection]:
    """Non-maximum suppression: of two boxes with an IoU above `max_overlap`, keep the higher score."""
    selected: list[Detection] = []
    for detection in sorted(detections, key=lambda detection: -detection.score):
        if all(_intersection_over_union(detection, other) <= max_overlap for other in selected):
            selected.append(detection)
    return selected


def _intersection_over_union(first: Detection, other: Detection) -> float:
    """Intersection over union of two boxes."""
    across = min(first.box[2], other.box[2]) - max(first.box[0], other.box[0])
    down = min(first.box[3], other.box[3]) - max(first.box[1], other.box[1])
    both = max(across, 0) * max(down, 0)
    return both / (first.area + other.area - both)
