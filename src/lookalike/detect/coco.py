"""Whole animals, and the other COCO classes, with a torchvision detector."""

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
from annotated_types import Gt, Le

from lookalike.detect.detection import Detection
from lookalike.errors import ConfigError

if TYPE_CHECKING:
    from torch.nn import Module

KINDS = {
    "person": 1,
    "bicycle": 2,
    "car": 3,
    "motorcycle": 4,
    "bird": 16,
    "cat": 17,
    "dog": 18,
    "horse": 19,
    "sheep": 20,
    "cow": 21,
    "elephant": 22,
    "bear": 23,
    "zebra": 24,
    "giraffe": 25,
}
OUTPUTS = 91
WITHOUT_EPSILON = ("fasterrcnn_resnet50_fpn", "retinanet_resnet50_fpn", "maskrcnn_resnet50_fpn")
"""Networks whose published weights were trained with batch norm with eps = 0."""
CHOICES = (
    "use detect=animal, the file that torchvision publishes for {} (detect.detector.weights=…), a "
    "detector of your own ('detect.detector={{_target_: my_module.Detector}}'), or a table with boxes "
    "(detect=box)"
)


class Coco:
    """Detects whole animals; boxes only.

    Args:
        weights: the file that torchvision publishes for this network, trained on COCO (BSD licence).
            Required; it is not downloaded.
        network: its name in `torchvision.models.detection`.
        kinds: classes to detect: person, bicycle, car, motorcycle, bird, cat, dog, horse, sheep, cow,
            elephant, bear, zebra or giraffe.
        min_score: minimum detection score.

    Raises:
        ConfigError: the file is missing or of another network.
        ValueError: an unknown network or class.
    """

    def __init__(
        self,
        weights: Path | None = None,
        network: str = "fasterrcnn_mobilenet_v3_large_fpn",
        kinds: tuple[str, ...] = ("dog",),
        min_score: Annotated[float, Gt(0), Le(1)] = 0.5,
    ):
        unknown = [kind for kind in kinds if kind not in KINDS]
        if unknown or not kinds:
            raise ValueError(f"kinds={list(kinds)}: choose some of {', '.join(KINDS)}")
        if weights is None:
            raise ConfigError(
                f"no package contains weights for {' and '.join(kinds)}: {CHOICES.format(network)}"
            )
        self.file, self.network = Path(weights).expanduser(), network
        self.kinds, self.min_score = tuple(kinds), min_score
        self._model  # noqa: B018 - wrong weights are said now

    def __call__(self, image: np.ndarray) -> list[Detection]:
        """The animals in an image, uint8 [H, W, 3], highest score first."""
        import torch

        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
        with torch.inference_mode():
            (output,) = self._model([pixels])
        requested_labels = {KINDS[kind] for kind in self.kinds}
        rows = zip(
            output["boxes"].tolist(), output["scores"].tolist(), output["labels"].tolist(), strict=True
        )
        return [
            Detection((x1, y1, x2, y2), score)
            for (x1, y1, x2, y2), score, kind in rows
            if kind in requested_labels and score >= self.min_score and x1 < x2 and y1 < y2
        ]

    @cached_property
    def _model(self) -> "Module":
        import torch
        from torch.nn import BatchNorm2d
        from torchvision.models import detection, get_model, list_models

        if self.network not in list_models(detection):
            raise ValueError(f"network={self.network}: choose one of {', '.join(list_models(detection))}")
        if not self.file.is_file():
            raise ConfigError(f"weights {self.file}: there is no such file: {CHOICES.format(self.network)}")
        model = get_model(self.network, weights=None, weights_backbone=None, num_classes=OUTPUTS)
        try:
            model.load_state_dict(torch.load(self.file, map_location="cpu", weights_only=True))
        except Exception as error:
            raise ConfigError(
                f"weights {self.file}: not those of {self.network}: {str(error).splitlines()[0]}"
            ) from error
        if self.network in WITHOUT_EPSILON:
            for layer in model.modules():
                if isinstance(layer, BatchNorm2d):
                    layer.eps = 0.0
        return model.eval()
