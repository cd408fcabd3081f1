"""What a model is: size, cost, speed on this machine, metrics and provenance."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lookalike.evaluation.operating_point import OperatingPoint, read_point
from lookalike.export.measure import BATCHES, ROUNDS, median_ms
from lookalike.files import parse_json
from lookalike.model.loading import load
from lookalike.model.onnx_model import OnnxModel

if TYPE_CHECKING:
    from lookalike.model.embedder import EmbeddingModel

RUN_FACTS = ("dataset", "loss", "epochs", "best_epoch", "train_images", "train_classes", "minutes")


@dataclass(frozen=True)
class ModelInfo:
    """Facts about a model folder or an exported file.

    Attributes:
        path: of the folder or file.
        backbone: name.
        dim: length of an embedding.
        image_size: side of the square image that the model takes, in pixels.
        precision: fp32, fp16 or int8.
        space: of its embeddings.
        parameters: number of weights; None for an exported file.
        flops: floating-point operations per image, a multiplication and an addition counted as two; None for
            an exported file.
        bytes: size of the weights file.
        speed: batch size to milliseconds per image on this machine, medians.
        operating_point: if there is one.
        licence: None where none is stated.
        training: what the run folder says about its origin.
    """

    path: Path
    backbone: str
    dim: int
    image_size: int
    precision: str
    space: str
    parameters: int | None
    flops: int | None
    bytes: int
    speed: dict[int, float]
    operating_point: OperatingPoint | None
    licence: str | None = None
    training: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """All facts, for JSON."""
        point = self.operating_point
        values = {**vars(self), "path": str(self.path), "operating_point": vars(point) if point else None}
        return {**values, "speed": {str(size): value for size, value in self.speed.items()}}

    def __str__(self) -> str:
        """One fact per line."""
        facts = {
            "model": str(self.path),
            "backbone": self.backbone,
            "embedding": f"dimension {self.dim}, {self.precision}, space {self.space}",
            "input": f"{self.image_size} × {self.image_size} pixels",
            "file size": f"{self.bytes / 1e6:.1f} MB",
        }
        if self.parameters is not None:
            facts["parameters"] = f"{self.parameters / 1e6:.2f} million"
        if self.flops is not None:
            facts["FLOPs"] = f"{self.flops / 1e9:.3f} billion per image"
        facts["speed"] = ", ".join(
            f"{ms:.2f} ms per image at batch {size}" for size, ms in self.speed.items()
        )
        facts["operating point"] = str(self.operating_point or "none")
        facts["licence"] = self.licence or "not stated"
        facts |= {key.replace("_", " "): str(value) for key, value in self.training.items()}
        width = max(map(len, facts))
        return "\n".join(f"{name:<{width}}  {value}" for name, value in facts.items())


def info(model: str | Path) -> ModelInfo:
    """Facts about a model.

    Args:
        model: model folder, run folder, export folder, or exported file.

    Raises:
        LookalikeError: it is none of these, or damaged.
    """
    path = Path(model)
    loaded = load(path)
    return _onnx_info(path, loaded) if isinstance(loaded, OnnxModel) else _torch_info(path, loaded)


def zoo_table(models: Sequence[ModelInfo]) -> str:
    """Several models as a Markdown table, in the order given."""
    columns = (
        "model", "backbone", "size", "dim", "parameters (M)", "FLOPs (G)", "file (MB)",
        "ms per image", "validation", "TAR at FAR",
    )  # fmt: skip
    rows = [_zoo_row(each) for each in models]
    lines = [f"| {' | '.join(row)} |" for row in [columns, ("---",) * len(columns), *rows]]
    return "\n".join(lines)


def _zoo_row(model: ModelInfo) -> tuple[str, ...]:
    point = model.operating_point
    validation = [
        f"{name.removeprefix('validation ')} {value:.3f}"
        for name, value in model.training.items()
        if name.startswith("validation ")
    ]
    return (
        str(model.path),
        model.backbone,
        f"{model.image_size} px, {model.precision}",
        str(model.dim),
        "–" if model.parameters is None else f"{model.parameters / 1e6:.2f}",
        "–" if model.flops is None else f"{model.flops / 1e9:.3f}",
        f"{model.bytes / 1e6:.1f}",
        f"{model.speed[min(model.speed)]:.2f}",
        validation[0] if validation else "–",
        "–" if point is None else f"{point.tar:.3f} at {point.far:.2g}",
    )


def _onnx_info(path: Path, model: OnnxModel) -> ModelInfo:
    size = model.resize.size
    images = _images(size)
    backbone = model.metadata.get("backbone", {})
    return ModelInfo(
        path,
        str(backbone.get("name", backbone.get("kind", "unknown"))),
        model.dim,
        size,
        str(model.metadata["precision"]),
        model.space,
        None,
        None,
        model.file.stat().st_size,
        {count: _time(lambda batch: model.run(list(batch)), images[:count]) for count in BATCHES},
        read_point(model.file, model.space),
        model.metadata.get("licence"),
    )


def _torch_info(path: Path, model: "EmbeddingModel") -> ModelInfo:
    import torch

    size = model.resize.size
    images = _images(size)

    def run(batch: np.ndarray) -> Any:
        with torch.inference_mode():
            return model(torch.from_numpy(batch))

    folder = model.folder or path
    spec = model.backbone.spec
    return ModelInfo(
        path,
        str(spec.get("name", spec.get("kind"))),
        model.dim,
        size,
        "fp32",
        model.space,
        sum(parameter.numel() for parameter in model.parameters()),
        _flops(model, size),
        (folder / "model.safetensors").stat().st_size,
        {count: _time(run, images[:count]) for count in BATCHES},
        read_point(folder, model.space),
        model.licence,
        _training_facts(folder.parent),
    )


def _images(size: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (max(BATCHES), 3, size, size), np.uint8)


def _time(run: Any, batch: np.ndarray) -> float:
    return median_ms(run, batch, ROUNDS)


def _flops(model: "EmbeddingModel", size: int) -> int:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, 3, size, size))
    return int(counter.get_total_flops())


def _training_facts(run: Path) -> dict[str, Any]:
    """Of config.yaml and summary.json of a run folder; nothing elsewhere."""
    summary = run / "summary.json"
    if not summary.is_file():
        return {}
    facts = parse_json(summary.read_text(encoding="utf-8"))
    metric = facts.get("best_metric")
    chosen = {key: facts[key] for key in RUN_FACTS if key in facts}
    if metric is not None and isinstance(facts.get("best_score"), float):
        chosen[f"validation {metric}"] = round(facts["best_score"], 4)
    return chosen
