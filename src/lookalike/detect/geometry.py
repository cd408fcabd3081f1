"""Similarity transforms: rotation, scale and translation as complex multiplication and addition."""

from dataclasses import dataclass
from typing import Literal, Self

import numpy as np

Template = Literal["eyes", "arcface"]

ARCFACE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
ARCFACE_SIDE = 112
"""Eyes, nose and mouth corners in a crop of 112 × 112 pixels (Deng et al. 2019, arXiv:1801.07698),
measured from the centre of the first pixel."""


@dataclass(frozen=True)
class Similarity:
    """The map z ↦ turn · z + shift of points z = x + iy.

    Attributes:
        turn: its absolute value is the scale, its angle the rotation.
        shift: image of the origin.
    """

    turn: complex
    shift: complex

    @classmethod
    def fit(cls, source: np.ndarray, target: np.ndarray) -> Self:
        """Least-squares fit of `source` to `target`, without reflection.

        Two points are mapped exactly. Equals the closed form of Umeyama 1991 without reflection.

        Args:
            source: [K, 2], K ≥ 2.
            target: [K, 2].

        Raises:
            ValueError: all points of `source` are equal.
        """
        start, end = _complex(source), _complex(target)
        around = start - start.mean()
        spread = float((abs(around) ** 2).sum())
        if spread <= 1e-12 * float((abs(start) ** 2).sum()):
            raise ValueError("its landmarks are identical")
        turn = complex((around.conj() * (end - end.mean())).sum() / spread)
        return cls(turn, complex(end.mean() - turn * start.mean()))

    @property
    def scale(self) -> float:
        """Scale factor."""
        return abs(self.turn)

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Transform the points [K, 2]."""
        moved = self.turn * _complex(points) + self.shift
        return np.stack([moved.real, moved.imag], axis=1)

    def inverse(self) -> "Similarity":
        """The inverse transform."""
        return Similarity(1 / self.turn, -self.shift / self.turn)


def _complex(points: np.ndarray) -> np.ndarray:
    points = np.asarray(points, np.float64)
    return points[:, 0] + 1j * points[:, 1]


def aligning_similarity(
    landmarks: np.ndarray, template: Template, size: int, eyes: tuple[float, float] = (0.35, 0.4)
) -> Similarity:
    """Transform from an image to a square of `size` pixels with the face upright.

    Args:
        landmarks: [K, 2], eyes first; see `Detection`.
        template: `eyes` maps both eyes exactly to `eyes`; `arcface` fits all five landmarks to those of
            ArcFace, by least squares.
        size: of the square, in pixels.
        eyes: position of the left eye, x and y as fractions of the side; the right one is mirrored.

    Raises:
        ValueError: too few landmarks for the template, or identical ones.
    """
    points = upright_similarity(landmarks)
    if template == "arcface":
        if len(points) != len(ARCFACE):
            raise ValueError(f"template arcface needs five landmarks, got {len(points)}")
        return Similarity.fit(points, (ARCFACE + 0.5) * (size / ARCFACE_SIDE))
    targets = np.array([eyes, (1 - eyes[0], eyes[1])]) * size
    return Similarity.fit(points[:2], targets)


def upright_similarity(landmarks: np.ndarray) -> np.ndarray:
    """Swap left and right landmarks if they are in the wrong order.

    They are swapped if the nose or mouth is on the wrong side of the line from the first eye to the second,
    at any rotation of the face; two eyes alone are ordered from left to right.
    """
    points = np.asarray(landmarks, np.float64)
    first, second = points[:2]
    if len(points) == 2:
        return points if first[0] <= second[0] else points[::-1]
    along, below = second - first, points[2:].mean(axis=0) - first
    if along[0] * below[1] - along[1] * below[0] >= 0:
        return points
    return points[[1, 0, 2, 4, 3]] if len(points) == 5 else points[[1, 0, *range(2, len(points))]]


def squaring_similarity(box: tuple[float, float, float, float], margin: float, size: int) -> Similarity:
    """Transform from an image to a square of `size` pixels around a box.

    Args:
        box: x1, y1, x2, y2.
        margin: added on each side, as a fraction of the longer side.
        size: of the square, in pixels.
    """
    x1, y1, x2, y2 = box
    scale = size / (max(x2 - x1, y2 - y1) * (1 + 2 * margin))
    middle = complex(size / 2, size / 2)
    return Similarity(complex(scale), middle - scale * complex((x1 + x2) / 2, (y1 + y2) / 2))
