"""Reading run and evaluation folders, as far as they are complete."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import polars as pl
import yaml

from lookalike.embeddings import Embeddings
from lookalike.errors import LookalikeError, Problem
from lookalike.evaluation.operating_point import OperatingPoint, read_point
from lookalike.files import parse_json

log = logging.getLogger(__name__)
Tree = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True)
class Run:
    """A training run. Every part may be empty.

    Attributes:
        history: one row an epoch.
        uses: how often each training image was used.
        point: the operating point of its model.
        skipped: images that training could not read.
        missing: missing parts of the run, in words.
    """

    folder: Path
    config: Tree = field(default_factory=dict)
    summary: Tree = field(default_factory=dict)
    history: pl.DataFrame | None = None
    uses: pl.Series | None = None
    point: OperatingPoint | None = None
    skipped: list[Problem] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Evaluation:
    """An evaluation. Only the metrics are required."""

    folder: Path
    metrics: Tree
    config: Tree = field(default_factory=dict)
    per_query: pl.DataFrame | None = None
    per_identity: pl.DataFrame | None = None
    distances: Tree | None = None
    embeddings: Embeddings | None = None
    skipped: list[Problem] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


def read_run(folder: str | Path) -> Run:
    """Read a run folder.

    Raises:
        LookalikeError: there is no such folder, or a file in it cannot be read.
    """
    folder = require_existing(folder, "run")
    missing: list[str] = []
    history = read_optional(folder / "history.csv", read_history, missing, "no loss and metric curves")
    return Run(
        folder,
        read_optional(folder / "config.yaml", read_yaml, missing, "nothing about how it was trained") or {},
        read_optional(folder / "summary.json", read_json, missing, "no counts of images") or {},
        None if history is None or history.is_empty() else history,
        read_uses(folder / "image_uses.csv"),
        read_point(folder),
        read_skipped(folder / "skipped.csv"),
        missing,
    )


def read_evaluation(folder: str | Path) -> Evaluation:
    """Read an evaluation folder.

    Raises:
        LookalikeError: there is no such folder, it has no metrics.json, or a file in it cannot be read.
    """
    folder = require_existing(folder, "evaluation")
    if not (folder / "metrics.json").is_file():
        raise LookalikeError(f"{folder} has no metrics.json: it is not an evaluation folder")
    missing: list[str] = []
    config = (
        read_optional(folder / "config.yaml", read_yaml, missing, "nothing about what was evaluated") or {}
    )
    embeddings = read_embeddings(folder, config, missing)
    return Evaluation(
        folder,
        read_optional(folder / "metrics.json", read_json, missing, "") or {},
        config,
        read_optional(folder / "per_query.parquet", pl.read_parquet, missing, "no best and worst queries"),
        read_optional(folder / "per_identity.parquet", pl.read_parquet, [], ""),
        read_optional(folder / "distances.json", read_json, missing, "no histogram of similarities"),
        embeddings,
        embeddings.skipped if embeddings else [],
        missing,
    )


def find_evaluation(folder: str | Path) -> Evaluation:
    """The evaluation in a folder: itself, or `evaluation` in a run folder.

    Raises:
        LookalikeError: there is none; says how to make one.
    """
    folder = require_existing(folder, "run")
    for candidate in (folder, folder / "evaluation"):
        if (candidate / "metrics.json").is_file():
            return read_evaluation(candidate)
    raise LookalikeError(
        f"{folder}: neither an evaluation nor an evaluated run. Evaluate it first: lookalike evaluate "
        f"model={folder}/model dataset=… out={folder}/evaluation"
    )


def require_existing(folder: str | Path, subject: str) -> Path:
    """The folder, if it is one."""
    folder = Path(folder)
    if not folder.is_dir():
        raise LookalikeError(f"{subject}={folder}: there is no such folder")
    return folder


def read_optional(file: Path, read: Callable[[Path], T], missing: list[str], without: str) -> T | None:
    """Read one file; if it is missing, note in `missing` what the report lacks.

    Raises:
        LookalikeError: the file is there and cannot be read.
    """
    if not file.is_file():
        missing.append(f"{file.name} is missing: {without}")
        return None
    try:
        return read(file)
    except (OSError, ValueError, yaml.YAMLError, pl.exceptions.PolarsError) as error:
        raise LookalikeError(f"{file} cannot be read: {' '.join(str(error).split())[:300]}") from error


def read_json(file: Path) -> Tree:
    """A JSON object."""
    return mapping(parse_json(file.read_text(encoding="utf-8")))


def read_yaml(file: Path) -> Tree:
    """A YAML mapping."""
    return mapping(yaml.safe_load(file.read_text(encoding="utf-8")) or {})


def mapping(value: object) -> Tree:
    """The value, if it is a mapping."""
    if not isinstance(value, Mapping):
        raise ValueError(f"it contains a {type(value).__name__}, not keys with values")
    return dict(value)


def read_history(file: Path) -> pl.DataFrame:
    """The history with numeric columns; other values become null."""
    text = pl.read_csv(file, infer_schema=False) if file.stat().st_size else pl.DataFrame()
    numbers = text.with_columns(pl.all().cast(pl.Float64, strict=False)) if text.width else text
    if "epoch" not in text.columns:
        return numbers
    return numbers.with_columns(pl.col("epoch").cast(pl.Int64, strict=False)).drop_nulls("epoch")


def read_uses(file: Path) -> pl.Series | None:
    """The uses in an image_uses.csv; None where there is no such file, or none with images."""
    frame = read_optional(file, lambda path: pl.read_csv(path, columns=["uses"]), [], "")
    return None if frame is None or frame.is_empty() else frame["uses"].cast(pl.Int64)


def read_skipped(file: Path) -> list[Problem]:
    """The rows of a skipped.csv; none where there is no such file."""
    if not file.is_file() or not file.stat().st_size:
        return []
    frame = read_optional(file, lambda path: pl.read_csv(path, infer_schema=False), [], "")
    rows = pl.DataFrame() if frame is None else frame
    return [
        Problem(str(row.get("path") or "?"), str(row.get("reason") or ""))
        for row in rows.iter_rows(named=True)
    ]


def read_embeddings(folder: Path, config: Tree, missing: list[str]) -> Embeddings | None:
    """The evaluated embeddings: in the folder, or where its config says that they are."""
    candidates = [folder / "embeddings", *([Path(config["embeddings"])] if config.get("embeddings") else [])]
    embeddings_folder = next((candidate for candidate in candidates if candidate.is_dir()), None)
    if embeddings_folder is None:
        missing.append("the embeddings are missing: no pictures and no map")
        return None
    try:
        return Embeddings.load(embeddings_folder)
    except (LookalikeError, OSError, ValueError) as error:
        log.warning("%s", error)
        missing.append(f"the embeddings cannot be read, so there are no pictures and no map: {error}")
        return None
