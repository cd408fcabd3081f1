"""What is to be exported, checked and loaded, and what the exported file says about itself."""

import copy
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lookalike.data.table import Table
from lookalike.errors import ConfigError
from lookalike.evaluation.operating_point import OperatingPoint
from lookalike.evaluation.pca import Pca
from lookalike.export.images import calibration_table, rows_of_split, test_table
from lookalike.export.settings import Settings
from lookalike.model.onnx_model import FORMAT, METADATA, OnnxModel

if TYPE_CHECKING:
    from lookalike.model.embedder import EmbeddingModel


@dataclass(frozen=True)
class ExportJob:
    """What is exported, with what it is tried on.

    Attributes:
        model: a copy in eval mode, on the CPU.
        settings: how to export.
        test: images that the two models are compared on.
        calibration: training images for int8.
        validation: images that a new operating point is chosen on.
        pca: to be folded in.
        own_space: whether the vectors must not be mixed with those of the model.
        labelled: whether the labels of `test` are the user's.
        options: of `embed`.
    """

    model: "EmbeddingModel"
    settings: Settings
    test: Table
    calibration: Table | None
    validation: Table | None
    pca: Pca | None
    own_space: bool
    labelled: bool
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def dim(self) -> int:
        """Length of an exported embedding."""
        return self.model.dim if self.pca is None else len(self.pca.directions)


def prepare_job(
    model: "EmbeddingModel | str | Path",
    table: Table | None,
    settings: Settings,
    pca: str | Path | None,
    dim: int | None,
    split: str | None,
    options: Mapping[str, Any],
) -> ExportJob:
    """Check and load what `export` was given; the arguments are its own.

    Raises:
        ConfigError: values contradict each other, or images are missing.
        LookalikeError: the model or PCA cannot be read.
    """
    loaded = _load_original(model, dim)
    if ("pca" in settings.fold) != (pca is not None):
        raise ConfigError("fold: pca needs pca=FOLDER with pca.json, and pca= needs pca in fold=")
    projection = None if pca is None else _read_pca(Path(pca), loaded.dim)
    own_space = settings.precision == "int8" or projection is not None
    calibration = None
    if settings.precision == "int8":
        calibration = calibration_table(table, settings)
    test, labelled = test_table(table, split, settings)
    validation = rows_of_split(table, "val") if table is not None else None
    return ExportJob(
        loaded, settings, test, calibration, validation, projection, own_space, labelled, dict(options)
    )


def _load_original(model: Any, dim: int | None) -> "EmbeddingModel":
    from lookalike.model.loading import load

    loaded = load(model) if isinstance(model, str | Path) else model
    if isinstance(loaded, OnnxModel):
        raise ConfigError(f"{loaded.file}: was exported already; give the model folder of training")
    folder, loaded = loaded.folder, copy.deepcopy(loaded).cpu().float().eval()
    loaded.folder = folder
    return loaded if dim is None else loaded.truncate(dim)


def _read_pca(folder: Path, dim: int) -> Pca:
    evaluated = folder / "pca"  # where `evaluate` saves it
    pca = Pca.load(evaluated if (evaluated / "pca.json").is_file() else folder)
    if len(pca.mean) != dim:
        raise ConfigError(
            f"pca={folder}: was fitted to vectors of dimension {len(pca.mean)}; those of the model have {dim}"
        )
    return pca


def export_space(job: ExportJob, file: Path | None) -> str:
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


def graph_input(job: ExportJob) -> dict[str, Any]:
    """What the graph takes: pixels, or scaled values, with what scales them."""
    if "preprocess" in job.settings.fold:
        return {"dtype": "uint8", "any_size": "resize" in job.settings.fold}
    if job.model.normalise == "image":
        return {"dtype": "float32", "normalise": "image"}
    mean, std = job.model.mean.flatten().tolist(), job.model.std.flatten().tolist()
    return {"dtype": "float32", "normalise": "backbone", "mean": mean, "std": std}


def describe_file(job: ExportJob, space: str, point: OperatingPoint | None) -> dict[str, Any]:
    """What the file says about itself."""
    from lookalike.version import __version__

    description: dict[str, Any] = {
        "format": FORMAT,
        "lookalike": __version__,
        "space": space,
        "model_space": job.model.space,
        "dim": job.dim,
        "precision": job.settings.precision,
        "preprocess": job.model.resize.to_dict(),
        "input": graph_input(job),
        "backbone": dict(job.model.backbone.spec),
        "pooling": dict(job.model.pool.spec),  # type: ignore[arg-type]
    }
    if job.model.licence is not None:
        description["licence"] = job.model.licence
    if job.pca is None and job.model.matryoshka:
        description["matryoshka"] = [dim for dim in job.model.matryoshka if dim <= job.dim]
    return description if point is None else {**description, "operating_point": asdict(point)}


def attach_description(file: Path, description: Mapping[str, Any]) -> None:
    """Put the description among the metadata of an ONNX file, in place of an earlier one."""
    import onnx

    model = onnx.load(str(file))
    kept = {entry.key: entry.value for entry in model.metadata_props if entry.key != METADATA}
    onnx.helper.set_model_props(model, {**kept, METADATA: json.dumps(description)})
    onnx.save(model, str(file))
