"""How to export: file format, precision, what the graph includes, and what difference is accepted."""

from dataclasses import dataclass
from typing import Literal, get_args

from lookalike.data.transforms import check_choice
from lookalike.errors import ConfigError

Format = Literal["onnx", "torchscript"]
Precision = Literal["fp32", "fp16", "int8"]
Fold = Literal["preprocess", "pca", "resize"]
MAX_GAP = {"fp32": 1e-5, "fp16": 1e-3, "int8": 0.5}
"""Largest 1 − cosine between the two embeddings of an image that is accepted by default."""
FOLDED_RESIZE_GAP = 0.02
"""The same where the graph resizes, which rounds otherwise than Pillow."""
FEWEST_CALIBRATION_IMAGES = 16


@dataclass(frozen=True)
class Settings:
    """How to export; see `export`."""

    format: Format = "onnx"
    precision: Precision = "fp32"
    fold: tuple[Fold, ...] = ("preprocess",)
    max_gap: float | None = None
    max_recall_loss: float = 0.01
    calibration_images: int = 300
    max_images: int = 2000
    far: float = 0.001
    seed: int = 0

    def __post_init__(self) -> None:
        check_choice("format", self.format, get_args(Format))
        check_choice("precision", self.precision, get_args(Precision))
        for name in self.fold:
            check_choice("fold", name, get_args(Fold))
        if self.format == "torchscript" and (self.precision != "fp32" or "resize" in self.fold):
            raise ConfigError("format=torchscript: exports fp32 without fold=resize; use format=onnx")
        if "resize" in self.fold and "preprocess" not in self.fold:
            raise ConfigError("fold: resize works on pixels, so it needs preprocess, too")

    @property
    def tolerance(self) -> float:
        """The accepted gap."""
        if self.max_gap is not None:
            return self.max_gap
        return max(MAX_GAP[self.precision], FOLDED_RESIZE_GAP if "resize" in self.fold else 0.0)
