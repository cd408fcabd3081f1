"""Writing a trained model as one portable file, and measuring what that changes."""

import copy
import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from lookalike.data.table import Table
from lookalike.embeddings import embed
from lookalike.errors import ConfigError, LookalikeError
from lookalike.evaluation.operating_point import FILE as POINT_FILE
from lookalike.evaluation.operating_point import OperatingPoint, read_point
from lookalike.evaluation.pca import Pca
from lookalike.evaluation.threshold_choice import choose_operating_point
from lookalike.export.card import write_card
from lookalike.export.images import calibration_table, rows_of_split, test_table
from lookalike.export.measure import (
    Gap,
    Quality,
    Speed,
    can_measure_quality,
    measure_gap,
    measure_quality,
    measure_speed,
)
from lookalike.export.settings import Fold, Format, Precision, Settings
from lookalike.files import new_folder, refuse_existing, write_text
from lookalike.model.onnx_model import FILE, FORMAT, METADATA, OnnxModel, scale

if TYPE_CHECKING:
    from lookalike.export.graph import Graph
    from lookalike.model.embedder import EmbeddingModel

log = logging.getLogger(__name__)
TORCHSCRIPT_FILE = "model.torchscript"


@dataclass(frozen=True)
class Export:
    """An exported file, and how it compares with the model it was made of.

    Attributes:
        file: the graph.
        space: embedding space of its vectors; that of the model for fp32 and fp16 without PCA.
        gap: between the embeddings of the two.
        quality: metrics of the two and, in another space of the same dimension, of mixed use; empty without
            labelled images.
        speed: of the two.
        bytes: size of the file.
        operating_point: of the file; None if there are no validation identities to choose it on.
    """

    file: Path
    space: str
    gap: Gap
    quality: list[Quality]
    speed: list[Speed]
    bytes: int
    operating_point: OperatingPoint | None

    def load(self) -> Any:
        """The exported model, ready to embed. A TorchScript file gives a torch module instead."""
        if self.file.name == FILE:
            return OnnxModel(self.file)
        import torch

        return torch.jit.load(str(self.file))

    def to_dict(self) -> dict[str, Any]:
        """All figures, for JSON."""
        values = asdict(self)
        values["speed"] = [{**asdict(each), "speedup": each.speedup} for each in self.speed]
        return {**values, "file": self.file.name}

    def __str__(self) -> str:
        """The figures as text, a line each."""
        lines = [
            f"{self.file} ({self.bytes / 1e6:.1f} MB, space {self.space})",
            f"gap (1 - cosine) on {self.gap.images} images: max {self.gap.max:.1e}, mean {self.gap.mean:.1e}",
        ]
        lines += [
            f"{each.queries} queries, {each.gallery} gallery: recall@1 {each.recall_at_1:.3f}, "
            f"TAR {each.tar:.3f} at FAR {each.far:.2g} (threshold {each.threshold:.3f})"
            for each in self.quality
        ]
        lines += [
            f"batch {each.batch_size}: {each.exported_ms:.2f} ms per image, PyTorch {each.original_ms:.2f} "
            f"({each.speedup:.1f} times as fast)"
            for each in self.speed
        ]
        return "\n".join(lines)


@dataclass(frozen=True)
class _Job:
    """What is exported, with what it is tried on."""

    model: "EmbeddingModel"
    settings: Settings
    test: Table
    calibration: Table | None
    validation: Table | None
    pca: Pca | None
    own_space: bool
    labelled: bool
    options: Mapping[str, Any] = field(default_factory=dict)


def export(
    model: "EmbeddingModel | str | Path",
    table: Table | None = None,
    *,
    out: str | Path,
    format: Format = "onnx",
    precision: Precision = "fp32",
    fold: Sequence[Fold] = ("preprocess",),
    pca: str | Path | None = None,
    split: str | None = None,
    max_gap: float | None = None,
    max_recall_loss: float = 0.01,
    calibration_images: int = 300,
    max_images: int = 2000,
    far: float = 0.001,
    seed: int = 0,
    workers: int = 0,
    progress: bool = True,
    metadata: Mapping[str, Any] | None = None,
) -> Export:
    """Write a model as one graph from uint8 pixels to unit vectors, and compare the two on real images.

    The folder `out` gets model.onnx (which holds all that is needed to use it), operating_point.json,
    export.json with the figures, config.yaml, and README.md, the model card.

    Args:
        model: a model, or its folder.
        table: images to compare the two on; int8 also needs its training images for calibration, and an
            operating point of its own its validation identities. Without one, the bundled sample is used
            for the gap alone.
        out: export folder to write; it must not exist.
        format: onnx, or torchscript for `torch.jit.load`.
        precision: fp32, fp16, or int8 (static, per channel). int8 is an embedding space of its own: its
            vectors must not be searched among those of the original.
        fold: what the graph includes: preprocess (scaling of pixels), pca, resize (images of any size, one at
            a time; antialiased, nearly the same pixels as Pillow).
        pca: evaluation folder, or folder with pca.json, of fold=pca.
        split: split of `table` to compare on; test if there is one, else val, else all.
        max_gap: largest accepted 1 − cosine between the embeddings of an image; by default 1e-5 for fp32,
            1e-3 for fp16, 0.5 for int8.
        max_recall_loss: largest accepted loss of recall@1.
        calibration_images: training images that int8 is calibrated on.
        max_images: compare on at most this many images, whole identities drawn at random.
        far: false accept rate of the operating points.
        seed: of what is drawn.
        workers: processes that read images.
        progress: show progress bars.
        metadata: what made it, for config.yaml.

    Raises:
        ConfigError: a value is not allowed, or values contradict each other.
        LookalikeError: the model cannot be exported, or the result is outside of the tolerance; then nothing
            is written.
    """
    refuse_existing(Path(out))
    _require_packages(format)
    settings = _settings(
        format, precision, tuple(fold), max_gap, max_recall_loss, calibration_images, max_images, far, seed
    )
    job = _prepare_job(model, table, settings, pca, split, {"workers": workers, "progress": progress})
    with new_folder(out) as folder:
        result = _export_into(job, folder, dict(metadata or {"made_by": "lookalike.export"}))
    log.info("wrote %s", out)
    return Export(Path(out) / result.file.name, **{name: getattr(result, name) for name in _KEPT})


_KEPT = ("space", "gap", "quality", "speed", "bytes", "operating_point")


def _require_packages(file_format: str) -> None:
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]
    if file_format == "onnx" and missing:
        raise ConfigError(f"export needs {', '.join(missing)}: pip install 'lookalike[train,export]'")


def _settings(*values: Any) -> Settings:
    try:
        return Settings(*values)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _prepare_job(
    model: "EmbeddingModel | str | Path",
    table: Table | None,
    settings: Settings,
    pca: str | Path | None,
    split: str | None,
    options: Mapping[str, Any],
) -> _Job:
    loaded = _load_original(model)
    if ("pca" in settings.fold) != (pca is not None):
        raise ConfigError("fold: pca needs pca=FOLDER with pca.json, and pca= needs pca in fold=")
    projection = None if pca is None else _read_pca(Path(pca), loaded.dim)
    own_space = settings.precision == "int8" or projection is not None
    calibration = None
    if settings.precision == "int8":
        calibration = calibration_table(table, settings)
    test, labelled = test_table(table, split, settings)
    validation = rows_of_split(table, "val") if table is not None else None
    return _Job(
        loaded, settings, test, calibration, validation, projection, own_space, labelled, dict(options)
    )


def _load_original(model: Any) -> "EmbeddingModel":
    from lookalike.model.loading import load

    loaded = load(model) if isinstance(model, str | Path) else model
    if isinstance(loaded, OnnxModel):
        raise ConfigError(f"{loaded.file}: was exported already; give the model folder of training")
    folder, loaded = loaded.folder, copy.deepcopy(loaded).cpu().float().eval()
    loaded.folder = folder
    return loaded


def _read_pca(folder: Path, dim: int) -> Pca:
    pca = Pca.load(folder)
    if len(pca.mean) != dim:
        raise ConfigError(
            f"pca={folder}: was fitted to vectors of dimension {len(pca.mean)}; those of the model have {dim}"
        )
    return pca


def _export_into(job: _Job, folder: Path, metadata: dict[str, Any]) -> Export:
    from lookalike.export import graph as graphs

    settings = job.settings
    graph = graphs.Graph(job.model, "preprocess" in settings.fold, job.pca)
    if settings.format == "torchscript":
        file, space = folder / TORCHSCRIPT_FILE, _space(job, None)
        graphs.write_torchscript(graph, file)
        exported: Any = _TorchScript(file, job.model.resize, space, _dim(job))
    else:
        file = folder / FILE
        _write_onnx(job, graph, file)
        space = _space(job, file)
        _attach(file, _describe(job, space, None))
        exported = OnnxModel(file)
    original = embed(job.model, job.test, **job.options)
    ours = embed(exported, job.test, **job.options)
    gap, quality = _compare(job, original.vectors, ours.vectors, ours.table)
    point = _operating_point(job, exported, space)
    speed = _speed(job, exported)
    if settings.format == "onnx":
        _attach(file, _describe(job, space, point))
    result = Export(file, space, gap, quality, speed, file.stat().st_size, point)
    _write_records(job, folder, result, metadata)
    return result


def _write_onnx(job: _Job, graph: "Graph", file: Path) -> None:
    from lookalike.export import graph as graphs
    from lookalike.export import precision

    graphs.write_onnx(graph, file)
    if job.settings.precision == "fp16":
        precision.to_float16(file)
    elif job.settings.precision == "int8" and job.calibration is not None:
        precision.to_int8(file, _calibration_inputs(job), graphs.INPUT)
    if "resize" in job.settings.fold:
        graphs.fold_resize(file, job.model.resize)


def _calibration_inputs(job: _Job) -> list[np.ndarray]:
    from lookalike.data.read_batches import read_batches

    table, resize = job.calibration, job.model.resize
    if table is None:
        return []
    images: list[np.ndarray] = []
    for batch in read_batches(table, range(len(table)), resize.pixels, resize.at_least):
        for problem in batch.skipped:
            log.warning("calibration: %s", problem)
        images += batch.images
    if "preprocess" in job.settings.fold:
        return images
    scaled = scale(np.stack(images), _input_of(job))
    return list(scaled)


def _dim(job: _Job) -> int:
    return job.model.dim if job.pca is None else len(job.pca.directions)


def _space(job: _Job, file: Path | None) -> str:
    """The model's own space, or a new one where vectors differ too much to be mixed."""
    if not job.own_space:
        return job.model.space
    digest = hashlib.sha256(job.model.space.encode())
    if job.pca is not None:
        for part in (job.pca.mean, job.pca.directions, job.pca.spread, np.array([job.pca.whiten])):
            digest.update(np.ascontiguousarray(part, np.float64).tobytes())
    if job.settings.precision == "int8" and file is not None:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _input_of(job: _Job) -> dict[str, Any]:
    if "preprocess" in job.settings.fold:
        return {"dtype": "uint8", "any_size": "resize" in job.settings.fold}
    if job.model.normalise == "image":
        return {"dtype": "float32", "normalise": "image"}
    mean, std = job.model.mean.flatten().tolist(), job.model.std.flatten().tolist()
    return {"dtype": "float32", "normalise": "backbone", "mean": mean, "std": std}


def _describe(job: _Job, space: str, point: OperatingPoint | None) -> dict[str, Any]:
    """What the file says about itself."""
    from lookalike.version import __version__

    description = {
        "format": FORMAT,
        "lookalike": __version__,
        "space": space,
        "model_space": job.model.space,
        "dim": _dim(job),
        "precision": job.settings.precision,
        "preprocess": job.model.resize.to_dict(),
        "input": _input_of(job),
        "backbone": dict(job.model.backbone.spec),
        "pooling": dict(job.model.pool.spec),  # type: ignore[arg-type]
    }
    return description if point is None else {**description, "operating_point": asdict(point)}


def _attach(file: Path, description: Mapping[str, Any]) -> None:
    """Put the description among the metadata of an ONNX file, in place of an earlier one."""
    import onnx

    model = onnx.load(str(file))
    kept = {entry.key: entry.value for entry in model.metadata_props if entry.key != METADATA}
    onnx.helper.set_model_props(model, {**kept, METADATA: json.dumps(description)})
    onnx.save(model, str(file))


class _TorchScript:
    """A TorchScript file with the attributes that `embed` asks of a model."""

    def __init__(self, file: Path, resize: Any, space: str, dim: int):
        import torch

        self.module, self.device = torch.jit.load(str(file)), torch.device("cpu")
        self.resize, self.space, self.dim = resize, space, dim

    def transform(self) -> Any:
        return self.resize

    def __call__(self, images: Any) -> Any:
        return self.module(images)


def _compare(
    job: _Job, original: np.ndarray, exported: np.ndarray, table: Table
) -> tuple[Gap, list[Quality]]:
    """Gap and metrics.

    Raises:
        LookalikeError: they are outside of the tolerance.
    """
    settings = job.settings
    if job.pca is not None:
        original_space, original = original, job.pca(original)
    else:
        original_space = original
    gap = measure_gap(original, exported)
    if not np.isfinite(gap.max) or gap.max > settings.tolerance:
        raise LookalikeError(
            f"the exported model differs too much: 1 - cosine is up to {gap.max:.2g} on {gap.images} images "
            f"(mean {gap.mean:.2g}), accepted is {settings.tolerance:g}. Nothing was written; to accept it, "
            f"set max_gap={_round_up(gap.max):g}"
        )
    labels = table.labels
    if not job.labelled or not can_measure_quality(labels):
        if job.labelled:
            log.info("recall@1 and TAR are not compared: that needs two identities, one with two images")
        return gap, []
    mixed = job.own_space and original_space.shape[1] == exported.shape[1]
    quality = measure_quality(original_space, exported, labels, settings.far, mixed)
    loss = quality[0].recall_at_1 - quality[1].recall_at_1
    if loss > settings.max_recall_loss:
        raise LookalikeError(
            f"the exported model loses {100 * loss:.1f} points of recall@1 on {gap.images} images "
            f"({quality[0].recall_at_1:.3f} to {quality[1].recall_at_1:.3f}), accepted are "
            f"{100 * settings.max_recall_loss:g}. Nothing was written; to accept it, set "
            f"max_recall_loss={_round_up(loss):g}"
        )
    return gap, quality


def _round_up(value: float) -> float:
    return (
        float(f"{value * 1.05:.1g}") if float(f"{value * 1.05:.1g}") >= value else float(f"{value * 1.5:.1g}")
    )


def _operating_point(job: _Job, exported: Any, space: str) -> OperatingPoint | None:
    """That of the model where the space is the same, else one of its own."""
    if not job.own_space:
        return None if job.model.folder is None else read_point(job.model.folder, job.model.space)
    if job.validation is None:
        log.warning(
            "the exported file has no operating point, since its vectors are not those of the model and the "
            "table has no validation identities; verify needs threshold="
        )
        return None
    embeddings = embed(exported, job.validation, **job.options)
    try:
        return choose_operating_point(
            embeddings.vectors, embeddings.table.labels, job.settings.far, space, job.settings.seed
        )
    except ValueError as error:
        log.warning("the exported file has no operating point: %s", error)
        return None


def _speed(job: _Job, exported: Any) -> list[Speed]:
    import torch

    size = job.model.resize.size
    images = np.random.default_rng(job.settings.seed).integers(0, 256, (16, 3, size, size), np.uint8)

    def original(batch: np.ndarray) -> Any:
        with torch.inference_mode():
            return job.model(torch.from_numpy(batch))

    def ours(batch: np.ndarray) -> Any:
        return (
            exported.run(list(batch))
            if isinstance(exported, OnnxModel)
            else exported(torch.from_numpy(batch))
        )

    return measure_speed(original, ours, images)


def _write_records(job: _Job, folder: Path, result: Export, metadata: Mapping[str, Any]) -> None:
    write_text(folder / "export.json", json.dumps(result.to_dict(), indent=2) + "\n")
    write_text(folder / "config.yaml", yaml.safe_dump(dict(metadata), sort_keys=False, allow_unicode=True))
    if result.operating_point is not None:
        write_text(folder / POINT_FILE, json.dumps(asdict(result.operating_point), indent=2) + "\n")
    write_card(folder, job.model, _describe(job, result.space, result.operating_point), result.to_dict())
