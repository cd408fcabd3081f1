"""Writing a trained model as one portable file, and measuring what that changes."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
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
from lookalike.evaluation.threshold_choice import choose_operating_point
from lookalike.export.card import write_card
from lookalike.export.job import (
    ExportJob,
    attach_description,
    describe_file,
    export_space,
    graph_input,
    prepare_job,
)
from lookalike.export.measure import (
    Gap,
    Quality,
    Speed,
    can_measure_quality,
    measure_gap,
    measure_quality,
    measure_speed,
)
from lookalike.export.result import TORCHSCRIPT_FILE, Export
from lookalike.export.settings import Fold, Format, Precision, Settings
from lookalike.files import new_folder, refuse_existing, write_text
from lookalike.model.licence import stated_licence
from lookalike.model.onnx_model import FILE, OnnxModel, scale

if TYPE_CHECKING:
    from lookalike.export.graph import Graph
    from lookalike.model.embedder import EmbeddingModel

log = logging.getLogger(__name__)


def export(
    model: "EmbeddingModel | str | Path",
    table: Table | None = None,
    *,
    out: str | Path,
    format: Format = "onnx",
    precision: Precision = "fp32",
    fold: Sequence[Fold] = ("preprocess",),
    dim: int | None = None,
    licence: str | None = None,
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
        dim: keep the first `dim` dimensions of the embeddings, which are another space; all if not given.
        licence: of the exported model, for its card and metadata, such as apache-2.0; if not given, that of
            the weights that training started from, where their library states one.
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
    job = prepare_job(model, table, settings, pca, dim, split, {"workers": workers, "progress": progress})
    job.model.licence = stated_licence(licence) or job.model.licence
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


def _export_into(job: ExportJob, folder: Path, metadata: dict[str, Any]) -> Export:
    from lookalike.export import graph as graphs

    settings = job.settings
    graph = graphs.Graph(job.model, "preprocess" in settings.fold, job.pca)
    if settings.format == "torchscript":
        file, space = folder / TORCHSCRIPT_FILE, export_space(job, None)
        graphs.write_torchscript(graph, file)
        exported: Any = _TorchScript(file, job.model.resize, space, job.dim)
    else:
        file = folder / FILE
        _write_onnx(job, graph, file)
        space = export_space(job, file)
        attach_description(file, describe_file(job, space, None))
        exported = OnnxModel(file)
    original = embed(job.model, job.test, **job.options)
    ours = embed(exported, job.test, **job.options)
    gap, quality = _compare(job, original.vectors, ours.vectors, ours.table)
    point = _operating_point(job, exported, space)
    speed = _speed(job, exported)
    if settings.format == "onnx":
        attach_description(file, describe_file(job, space, point))
    result = Export(file, space, gap, quality, speed, file.stat().st_size, point)
    _write_records(job, folder, result, metadata)
    return result


def _write_onnx(job: ExportJob, graph: "Graph", file: Path) -> None:
    from lookalike.export import graph as graphs
    from lookalike.export import precision

    graphs.write_onnx(graph, file)
    if job.settings.precision == "fp16":
        precision.to_float16(file)
    elif job.settings.precision == "int8" and job.calibration is not None:
        precision.to_int8(file, _calibration_inputs(job), graphs.INPUT)
    if "resize" in job.settings.fold:
        graphs.fold_resize(file, job.model.resize)


def _calibration_inputs(job: ExportJob) -> list[np.ndarray]:
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
    scaled = scale(np.stack(images), graph_input(job))
    return list(scaled)


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
    job: ExportJob, original: np.ndarray, exported: np.ndarray, table: Table
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


def _operating_point(job: ExportJob, exported: Any, space: str) -> OperatingPoint | None:
    """That of the model where the space is the same, else one of its own."""
    if not job.own_space and job.model.truncation is None:
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


def _speed(job: ExportJob, exported: Any) -> list[Speed]:
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


def _write_records(job: ExportJob, folder: Path, result: Export, metadata: Mapping[str, Any]) -> None:
    write_text(folder / "export.json", json.dumps(result.to_dict(), indent=2) + "\n")
    write_text(folder / "config.yaml", yaml.safe_dump(dict(metadata), sort_keys=False, allow_unicode=True))
    if result.operating_point is not None:
        write_text(folder / POINT_FILE, json.dumps(asdict(result.operating_point), indent=2) + "\n")
    write_card(folder, job.model, describe_file(job, result.space, result.operating_point), result.to_dict())
