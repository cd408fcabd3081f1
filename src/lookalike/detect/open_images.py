"""Whole cats and dogs by MediaPipe's object detector: SSD with MobileNetV2, trained on Open Images V4."""

import tarfile
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from annotated_types import Gt, Le
from PIL import Image

from lookalike.detect.detection import Detection, suppress_overlapping
from lookalike.errors import ConfigError

KINDS = (
    *("", "bicycle", "boot", "laptop", "person", "chair", "cattle", "desk", "cat", "computer mouse"),
    *("computer monitor", "box", "mug", "coffee cup", "stationary bicycle", "table", "bottle", "high heels"),
    *("vehicle", "footwear", "dog", "book", "camera", "car"),
)
"""The classes of the network in order; the first is the background."""
SIDE = 300
STRIDES = (16, 32, 64, 128, 256, 512)
SMALLEST, LARGEST = 0.2, 0.95
RATIOS = (1.0, 2.0, 0.5, 3.0, 0.3333)
CENTRE, EXTENT = 10.0, 5.0
"""Divisors of the encoded positions and sizes."""
SAME = 0.5
MARK = b"TFL3"
MARK_AT = 4
RUNTIME = "pip install 'lookalike[animals]'"
PACKAGE = "npm pack @mediapipe/objectron"
WEIGHTS = (
    f"`{PACKAGE}` writes mediapipe-objectron-….tgz (33 MB, Apache-2.0), which contains it: "
    "detect.detector.weights=mediapipe-objectron-….tgz"
)


class OpenImages:
    """Detects whole cats and dogs (and a few other classes); boxes only.

    Liu et al. 2016 (arXiv:1512.02325) on Sandler et al. 2018 (arXiv:1801.04381), as MediaPipe trained it.

    Args:
        weights: the archive of the npm package @mediapipe/objectron, or the TFLite file in it (Apache-2.0).
            Required; it is not downloaded.
        kinds: classes to detect, from `KINDS`.
        min_score: minimum detection score.

    Raises:
        ConfigError: the runtime or the file is missing, or it is another file.
        ValueError: an unknown class.
    """

    def __init__(
        self,
        weights: Path | None = None,
        kinds: tuple[str, ...] = ("cat",),
        min_score: Annotated[float, Gt(0), Le(1)] = 0.4,
    ):
        unknown = [kind for kind in kinds if kind not in KINDS[1:]]
        if unknown or not kinds:
            raise ValueError(f"kinds={list(kinds)}: choose some of {', '.join(KINDS[1:])}")
        if weights is None:
            raise ConfigError(
                f"detecting {' and '.join(kinds)} needs a weights file. {WEIGHTS}. Alternatives: a table "
                f"with "
                "boxes (detect=box), or detect=cat_face, which needs no file but misses most cats"
            )
        self.file, self.kinds, self.min_score = Path(weights).expanduser(), tuple(kinds), min_score
        self._network  # noqa: B018 - reports a wrong file now

    def __call__(self, image: np.ndarray) -> list[Detection]:
        """The animals in an image, uint8 [H, W, 3], highest score first."""
        small = Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BILINEAR, reducing_gap=3)
        network = self._network
        network.set_tensor(network.get_input_details()[0]["index"], pixels(small))
        network.invoke()
        positions, scores = (network.get_tensor(one["index"])[0] for one in network.get_output_details())
        height, width = image.shape[:2]
        boxes = decode_boxes(positions, anchors()) * np.array([width, height, width, height])
        sure = 1 / (1 + np.exp(-scores[:, [KINDS.index(kind) for kind in self.kinds]].max(axis=1)))
        results = []
        for row in np.flatnonzero(sure >= self.min_score):
            x1, y1, x2, y2 = (float(value) for value in boxes[row])
            results.append(Detection((x1, y1, x2, y2), float(sure[row])))
        return suppress_overlapping(results, SAME)

    @cached_property
    def _network(self) -> Any:
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise ConfigError(
                f"detecting cats and dogs needs the package ai-edge-litert: {RUNTIME}"
            ) from error
        content = network_in(self.file)
        try:
            network = Interpreter(model_content=content, num_threads=1)
            network.allocate_tensors()
            shapes = [tuple(one["shape"]) for one in network.get_output_details()]
        except (RuntimeError, ValueError) as error:
            raise ConfigError(f"weights {self.file}: not a readable network: {error}") from error
        count = len(anchors())
        if shapes != [(1, count, 4), (1, count, len(KINDS))]:
            raise ConfigError(f"weights {self.file}: not the expected network. {WEIGHTS}")
        return network


def cats_and_dogs(
    weights: Path | None = None,
    kinds: tuple[str, ...] = ("cat", "dog"),
    min_score: Annotated[float, Gt(0), Le(1)] = 0.4,
) -> OpenImages:
    """`OpenImages` for cats and dogs.

    Args:
        weights: see there.
        kinds: classes to detect.
        min_score: minimum detection score.
    """
    return OpenImages(weights, kinds, min_score)


def network_in(file: Path) -> bytes:
    """The TFLite network in a file, in a bundle, or in an archive that contains such a file.

    Raises:
        ConfigError: there is none.
    """
    if not file.is_file():
        raise ConfigError(f"weights {file}: there is no such file. {WEIGHTS}")
    try:
        content = _network_of_archive(file) if tarfile.is_tarfile(file) else file.read_bytes()
    except (OSError, tarfile.TarError, EOFError) as error:
        raise ConfigError(f"weights {file}: cannot be read: {error}") from error
    position = content.find(MARK) - MARK_AT
    if position < 0:
        also = "; files of torchvision are for detect=dog" if file.suffix in (".pth", ".pt") else ""
        raise ConfigError(f"weights {file}: contains no TFLite network{also}. {WEIGHTS}")
    return content[position:]


def _network_of_archive(archive: Path) -> bytes:
    """The content of the archive member with the network; empty if there is none."""
    with tarfile.open(archive) as tar:
        for one in tar:
            if one.isfile() and one.name.endswith(("_packed_assets.data", "oidv4_fp16.tflite")):
                stream = tar.extractfile(one)
                return b"" if stream is None else stream.read()
    return b""


def pixels(image: Image.Image) -> np.ndarray:
    """Network input: float32 [1, H, W, 3] from −1 to 1."""
    return (np.asarray(image, np.float32) / 127.5 - 1)[None]


def anchors() -> np.ndarray:
    """The anchor boxes: centre x, y, width, height as fractions, [A, 4]."""
    steps = len(STRIDES) - 1
    scales = [SMALLEST + (LARGEST - SMALLEST) * step / steps for step in range(steps + 1)] + [1.0]
    results = []
    for layer, stride in enumerate(STRIDES):
        shapes = [(scales[layer], ratio) for ratio in RATIOS]
        shapes = [*shapes, (float(np.sqrt(scales[layer] * scales[layer + 1])), 1.0)]
        if layer == 0:
            shapes = [(0.1, 1.0), (scales[0], 2.0), (scales[0], 0.5)]
        sizes = np.array([(scale * ratio**0.5, scale / ratio**0.5) for scale, ratio in shapes])
        cells = -(-SIDE // stride)
        down, across, shape = np.indices((cells, cells, len(shapes))).reshape(3, -1)
        centres = (np.stack([across, down], axis=1) + 0.5) / cells
        results.append(np.concatenate([centres, sizes[shape]], axis=1))
    return np.concatenate(results)


def decode_boxes(positions: np.ndarray, around: np.ndarray) -> np.ndarray:
    """Decode boxes x1 y1 x2 y2 as fractions, [A, 4], from the network output y, x, height, width, [A, 4]."""
    centre = positions[:, 1::-1] / CENTRE * around[:, 2:] + around[:, :2]
    extent = np.exp(np.clip(positions[:, 3:1:-1] / EXTENT, -10, 10)) * around[:, 2:]
    return np.concatenate([centre - extent / 2, centre + extent / 2], axis=1)
