"""What can be found out about an evaluation before there are any vectors."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from lookalike.evaluation.protocols.base import Rules, Samples, TaskPart
from lookalike.evaluation.protocols.pairs import PairList
from lookalike.metrics.inputs import factorise


def check_table(labels: Any, frame: pl.DataFrame, rules: Rules, by: Sequence[str] = ()) -> None:
    """Refuse a table that the rules cannot be followed on, whatever the vectors are.

    Args:
        labels: identities, [N].
        frame: further columns, N rows.
        rules: the protocol.
        by: columns by whose values metrics are wanted.

    Raises:
        ValueError: a column is missing, or no query could find anything.
    """
    names, codes = factorise(labels)
    samples = Samples(np.ones((len(codes), 1), np.float32), codes, names, frame)
    check_columns(samples, by)
    if isinstance(rules, PairList):
        rules.pairs(samples)
    else:
        check_parts(samples, rules.parts(samples))


def check_columns(samples: Samples, by: Sequence[str]) -> None:
    """Refuse columns that are not there, or not as long as the vectors.

    Raises:
        ValueError: says which columns there are.
    """
    columns = samples.frame.columns
    if columns and samples.frame.height != len(samples):
        raise ValueError(f"frame: {samples.frame.height} rows for {len(samples)} vectors; each needs one")
    missing = [name for name in by if name != "label" and name not in columns]
    if missing:
        available = ", ".join(["label", *(name for name in columns if name != "label")])
        raise ValueError(f"by=[{','.join(missing)}]: there is no such column; there are {available}")


def check_parts(samples: Samples, parts: Sequence[TaskPart]) -> None:
    """Refuse queries of which none could find anything, as far as identities tell.

    Raises:
        ValueError: says how many there are.
    """
    if not any(_may_match(part) for part in parts):
        raise ValueError(reason_nothing_to_find(samples, parts))


def reason_nothing_to_find(samples: Samples, parts: Sequence[TaskPart]) -> str:
    """Why there is nothing to find, in words."""
    if all(part.task.self_retrieval for part in parts):
        return f"labels: {len(samples.names)} identities, none with two images: there is nothing to find"
    queries = sum(len(part.queries) for part in parts)
    return f"labels: none of {queries} queries has an image of its identity that it could find in the gallery"


def _may_match(part: TaskPart) -> bool:
    first, last = part.task.bounds
    return bool((last - first > part.task.self_retrieval).any())
