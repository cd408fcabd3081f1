"""Inputs of a map: vectors, table and per-query metrics of a folder."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml

from lookalike.data.table import Table
from lookalike.data.vectors import read_vectors
from lookalike.embeddings import Embeddings
from lookalike.errors import LookalikeError

Inputs = tuple[np.ndarray, Table, str, dict[str, np.ndarray]]
"""Vectors, table, title, and further columns."""


def evaluation_folder(folder: Path) -> Path | None:
    """The evaluation in a run or evaluation folder; None of embeddings, an index, or a run without one.

    Raises:
        LookalikeError: the folder is none of these.
    """
    if not folder.is_dir():
        raise LookalikeError(f"run={folder}: there is no such folder")
    if holds_vectors(folder):
        return None
    if is_run(folder):
        stored = folder / "evaluation"
        return stored if (stored / "metrics.json").is_file() else None
    if not (folder / "metrics.json").is_file():
        raise LookalikeError(f"run={folder}: neither a run nor an evaluation, embeddings or index folder")
    return folder


def is_run(folder: Path) -> bool:
    """Whether it is a run folder."""
    return (folder / "model").is_dir() and not holds_vectors(folder)


def holds_vectors(folder: Path) -> bool:
    """Whether it is an embeddings or index folder."""
    return (folder / "space.json").is_file() or (folder / "index.json").is_file()


def read_inputs(folder: Path) -> Inputs:
    """What a run, evaluation, embeddings or index folder contains.

    Raises:
        LookalikeError: the folder is none of these, or contains no vectors.
    """
    evaluation, title = evaluation_folder(folder), title_of(folder)
    if holds_vectors(folder):
        return *read_vectors(folder), title, {}
    if evaluation is None:
        raise LookalikeError(f"{folder} was not evaluated. Run: lookalike explore {folder}")
    embeddings = read_embeddings(evaluation)
    return embeddings.vectors, embeddings.table, title, per_query_columns(evaluation, len(embeddings.table))


def title_of(folder: Path) -> str:
    """The name of a folder, or of the one that an evaluation or embeddings folder is in."""
    path = folder.resolve()
    return path.parent.name if path.name in ("evaluation", "embeddings") else path.name


def read_embeddings(folder: Path) -> Embeddings:
    """The vectors of an evaluation: in its folder, or where its config.yaml says that they are.

    Raises:
        LookalikeError: there are none, or they cannot be read.
    """
    candidates = [folder / "embeddings"]
    config = read_config(folder / "config.yaml")
    candidates += [Path(config["embeddings"])] if config.get("embeddings") else []
    stored = next((candidate for candidate in candidates if candidate.is_dir()), None)
    if stored is None:
        raise LookalikeError(
            f"{folder}: has no embeddings to show; evaluate again, or explore an embeddings folder"
        )
    return Embeddings.load(stored)


def read_config(file: Path) -> dict[str, Any]:
    """The keys in a config.yaml; none where there is no such file.

    Raises:
        LookalikeError: it is not a YAML mapping.
    """
    try:
        config = yaml.safe_load(file.read_text(encoding="utf-8")) if file.is_file() else {}
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise LookalikeError(f"{file} cannot be read: {' '.join(str(error).split())[:300]}") from error
    if not isinstance(config, dict):
        raise LookalikeError(f"{file} cannot be read: it does not contain keys with values")
    return config


def per_query_columns(folder: Path, size: int) -> dict[str, np.ndarray]:
    """The retrieval metrics of each image that was a query."""
    file = folder / "per_query.parquet"
    columns: dict[str, np.ndarray] = {}
    if not file.is_file():
        return columns
    try:
        frame = pl.read_parquet(file)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise LookalikeError(f"{file} cannot be read: {' '.join(str(error).split())[:300]}") from error
    for name in frame.columns:
        if frame.schema[name].is_float():
            columns[name] = np.full(size, np.nan)
            columns[name][frame["row"].to_numpy()] = frame[name].fill_null(np.nan).to_numpy()
    return columns
