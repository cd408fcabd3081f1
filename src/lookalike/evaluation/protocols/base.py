"""What every protocol has: rules with a hash, and parts that are compared."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np
import polars as pl

from lookalike.ranking.task import RetrievalTask

UNNAMED = "column {name}: the protocol {protocol} needs it, and there is none. {advice}"
ADVICE = {
    "role": "It says of each image whether it is a query, gallery, both, or a distractor",
    "group": "It says what a query must ignore or what belongs together: a camera, a sequence, an object",
    "fold": "It says which images are evaluated together",
    "path": "It says which image is meant by a line of the list of pairs",
}


@dataclass(frozen=True, eq=False)
class Samples:
    """What is evaluated.

    Attributes:
        unit: vectors from `exact_vectors`, [N, D].
        codes: identity of each, int64 [N].
        names: the labels that the codes stand for.
        frame: further columns, such as role, group, fold, path; N rows, or no column at all.
    """

    unit: np.ndarray
    codes: np.ndarray
    names: np.ndarray
    frame: pl.DataFrame

    def __len__(self) -> int:
        return len(self.unit)

    def column(self, name: str, protocol: str) -> pl.Series:
        """A column.

        Raises:
            ValueError: there is none; says what it is for.
        """
        if name not in self.frame.columns:
            raise ValueError(UNNAMED.format(name=name, protocol=protocol, advice=ADVICE[name]))
        return self.frame[name]

    def groups(self, protocol: str) -> np.ndarray:
        """The column `group` as numbers; a row without one is a group of its own."""
        column = self.column("group", protocol)
        codes = column.rank("dense").cast(pl.Int64)
        alone = pl.Series(np.arange(len(column)) + len(column) + 1)
        return codes.fill_null(alone).to_numpy(writable=True)


@dataclass(frozen=True, eq=False)
class TaskPart:
    """A comparison of its own, and the rows of the table that it is made of.

    Attributes:
        task: queries and gallery.
        queries: table row of each query, [Q].
        gallery: table row of each gallery row, [G].
    """

    task: RetrievalTask
    queries: np.ndarray
    gallery: np.ndarray


@dataclass(frozen=True)
class Rules:
    """The rules that all protocols share.

    Attributes:
        ties: which of equally similar images comes first.
        lone: queries without another image of their identity to find: left out, or counted as 0.
        similarity: what "near" means.
        crop: which part of a picture is looked at.
        resize: how pictures become as large as the model wants them.
    """

    ties: Literal["lower_row"] = "lower_row"
    lone: Literal["left_out", "zero"] = "left_out"
    similarity: Literal["cosine"] = "cosine"
    crop: Literal["box"] = "box"
    resize: Literal["as_the_model"] = "as_the_model"

    def __post_init__(self) -> None:
        for name, hint in get_type_hints(type(self)).items():
            value = getattr(self, name)
            if get_origin(hint) is Literal and value not in get_args(hint):
                allowed = " or ".join(map(repr, get_args(hint)))
                raise ValueError(f"protocol: {name}={value!r}: it is {allowed}")

    @property
    def name(self) -> str:
        """As one chooses it."""
        return type(self).__name__

    def to_dict(self) -> dict[str, Any]:
        """All rules, as they go into the hash."""
        return asdict(self)

    @property
    def hash(self) -> str:
        """The first 12 digits of a SHA-256 of the rules."""
        return self.hash_with({})

    def hash_with(self, arguments: Mapping[str, Mapping[str, Any]]) -> str:
        """The same with arguments of metrics that change values and do not stand in the metrics' names."""
        message = {"protocol": self.name, **self.to_dict()}
        if arguments:
            message["arguments"] = arguments
        return hashlib.sha256(json.dumps(message, sort_keys=True, default=str).encode()).hexdigest()[:12]

    def parts(self, samples: Samples) -> list[TaskPart]:
        """The comparisons to make.

        Raises:
            ValueError: the samples lack what the rules need.
        """
        raise NotImplementedError


def self_retrieval(samples: Samples, rows: np.ndarray, ignore: str, protocol: str) -> TaskPart:
    """These rows, each looking for the others.

    Args:
        samples: all of them.
        rows: which to compare, ascending.
        ignore: `itself`, or also `group` or `identity_in_group`.
        protocol: for messages.
    """
    groups = None if ignore == "itself" else samples.groups(protocol)[rows]
    task = RetrievalTask(
        samples.unit if len(rows) == len(samples) else samples.unit[rows],
        samples.codes[rows],
        query_groups=groups,
        ignore="nothing" if ignore == "itself" else ignore,  # pyrefly: ignore
    )
    return TaskPart(task, rows, rows)


def two_sided_task(
    samples: Samples, queries: np.ndarray, gallery: np.ndarray, ignore: str, protocol: str, right: np.ndarray
) -> TaskPart:
    """Some rows looking for others; a row that is in both does not find itself.

    Args:
        samples: all of them.
        queries: rows, ascending.
        gallery: rows, ascending.
        ignore: `itself`, or also `group` or `identity_in_group`.
        protocol: for messages.
        right: whether a row of the gallery may be right for anyone, bool [G]; a distractor is not.
    """
    if not len(queries) or not len(gallery):
        missing = "query" if not len(queries) else "gallery"
        raise ValueError(f"protocol {protocol}: there is no {missing} image")
    positions = np.full(len(samples), -1)
    positions[gallery] = np.arange(len(gallery))
    groups = None if ignore == "itself" else samples.groups(protocol)
    task = RetrievalTask(
        samples.unit[queries],
        samples.codes[queries],
        samples.unit[gallery],
        np.where(right, samples.codes[gallery], -1),
        exclude_row=positions[queries],
        query_groups=None if groups is None else groups[queries],
        gallery_groups=None if groups is None else groups[gallery],
        ignore="nothing" if ignore == "itself" else ignore,  # pyrefly: ignore
    )
    return TaskPart(task, queries, gallery)


def rows_by_role(samples: Samples, protocol: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Query rows, gallery rows, and whether each gallery row is more than a distractor.

    Raises:
        ValueError: there is no column `role`, or rows have none.
    """
    role = samples.column("role", protocol)
    has_role = role.is_in(["query", "gallery", "both", "distractor"]).fill_null(False)
    if not has_role.all():
        bad = (~has_role).arg_true()
        raise ValueError(
            f"column role: {len(bad)} images have none, the first in row {bad[0]}: each is query, "
            "gallery, both or distractor"
        )
    queries = role.is_in(["query", "both"]).arg_true().to_numpy().astype(np.int64)
    gallery = (role != "query").arg_true().to_numpy().astype(np.int64)
    return queries, gallery, (role != "distractor").to_numpy()[gallery]
