"""How good embeddings are: retrieval and verification on unseen identities, with intervals."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from typing import Any, Literal

import numpy as np
import polars as pl
import torch

from lookalike.metrics.inputs import factorise, unit_vectors
from lookalike.metrics.interval import bootstrap
from lookalike.metrics.retrieval import (
    average_precision,
    map_at_r,
    precision_at,
    r_precision,
    recall_at,
)
from lookalike.metrics.verification import Pairs, auc, distances, histogram, tar_at_far
from lookalike.search.compare import Comparison, Metric, compare
from lookalike.search.sides import Sides

Value = dict[str, float]


@dataclass(frozen=True)
class Protocol:
    """Who looks for whom. Numbers of two protocols must not be compared, so its hash goes with them.

    Attributes:
        query: which images look.
        gallery: among which they look.
        ignore: what a query does not find: its own row, whatever its score.
        ties: which of equally similar images comes first.
        lone: queries without another image of their identity are counted, but have no score.
        similarity: what "near" means.
    """

    query: Literal["all"] = "all"
    gallery: Literal["all"] = "all"
    ignore: Literal["itself"] = "itself"
    ties: Literal["lower_row"] = "lower_row"
    lone: Literal["left_out"] = "left_out"
    similarity: Literal["cosine"] = "cosine"

    def __post_init__(self) -> None:
        for rule in fields(self):
            if getattr(self, rule.name) != rule.default:
                raise ValueError(f"protocol: {rule.name} is {rule.default!r}, the only one there is so far")

    @property
    def hash(self) -> str:
        """The first 12 digits of a SHA-256 of the rules."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found.

    Attributes:
        metrics: name to `value`, and `low` and `high` where there is an interval.
        per_query: one line a query: row, label, every retrieval metric, neighbours (rows) and their scores.
        protocol: hash of the rules.
        queries: how many queries have a score.
        lone_queries: how many have no other image of their identity, so none.
        distances: histogram of similarities: edges, positive, negative, threshold.
        notes: what is absent, and why.
    """

    metrics: dict[str, Value]
    per_query: pl.DataFrame
    protocol: str
    queries: int
    lone_queries: int
    distances: dict[str, Any]
    notes: list[str] = field(default_factory=list)

    def summary(self, skipped: int = 0) -> dict[str, Any]:
        """Flat, as metrics.json has it."""
        counts = {"queries": self.queries, "lone_queries": self.lone_queries, "skipped": skipped}
        return {**self.metrics, "protocol": self.protocol, **counts, "notes": self.notes}


def evaluate(
    vectors: Any,
    labels: Any,
    *,
    ks: Sequence[int] = (1, 5, 10),
    far: float = 1e-3,
    coarse_far: bool = False,
    intervals: bool = True,
    seed: int = 0,
    neighbours: int = 10,
    protocol: Protocol | None = None,
    device: str | torch.device | None = None,
    progress: bool = False,
) -> Evaluation:
    """Retrieval of every image among all others, and verification over all pairs of images.

    Exact, in blocks: time grows with the square of the number of images, memory with the number. Definitions
    are in docs/evaluate.md.

    Args:
        vectors: embeddings [N, D]; they are normalised, since the similarity is the cosine.
        labels: identities, integers (64 bits) or strings, [N].
        ks: the k of recall@k and precision@k.
        far: false accept rate at which the threshold is chosen.
        coarse_far: allow a `far` finer than the pairs can show; else its metrics are absent, with a note.
        intervals: whether to give 95 % intervals of the retrieval metrics, by bootstrap over identities.
        seed: of the bootstrap.
        neighbours: how many neighbours of each query to keep.
        protocol: the rules; self-retrieval if not given.
        device: where to multiply; the CPU if not given.
        progress: show a bar on stderr.

    Raises:
        ValueError: vectors that are not finite or zero, labels that do not fit them, no identity with two
            images, or an argument out of range.
    """
    if not 0 <= far < 1 or not ks or min(ks) < 1 or neighbours < 1:
        raise ValueError(
            f"far={far}, ks={list(ks)}, neighbours={neighbours}: far is at least 0 and less than 1, "
            "every k and neighbours at least 1"
        )
    unit = unit_vectors(vectors)
    names, codes = factorise(labels, len(unit))
    lone = np.bincount(codes)[codes] < 2
    if lone.all():
        raise ValueError(f"labels: {len(names)} identities, none with two images: there is nothing to find")
    found = compare(
        Sides(unit, codes),
        _retrieval_metrics(ks),
        neighbours=neighbours,
        fars=[far],
        device=device,
        progress=progress,
    )
    metrics, notes = _means(found.columns, codes if intervals else None, seed)
    verified, histogram, absent = _verification(found.pairs, far, coarse_far)
    if lone.any():
        notes.append(f"images with no other image of their identity, so not scored: {lone.sum()}")
    return Evaluation(
        metrics={**metrics, **verified},
        per_query=_table(found, names[codes]),
        protocol=(protocol or Protocol()).hash,
        queries=int((~lone).sum()),
        lone_queries=int(lone.sum()),
        distances=histogram,
        notes=notes + absent,
    )


def _retrieval_metrics(ks: Sequence[int]) -> dict[str, Metric]:
    return {
        **{f"recall@{k}": partial(recall_at, k=k) for k in ks},
        **{f"precision@{k}": partial(precision_at, k=k) for k in ks},
        "map@r": map_at_r,
        "r_precision": r_precision,
        "map": average_precision,
    }


def _means(
    columns: dict[str, np.ndarray], codes: np.ndarray | None, seed: int
) -> tuple[dict[str, Value], list[str]]:
    """The mean of each metric over the queries that have one; with its interval, if `codes` are given."""
    metrics = {name: {"value": float(np.nanmean(column))} for name, column in columns.items()}
    if codes is None:
        return metrics, []
    try:
        ends = bootstrap(np.stack(list(columns.values()), axis=1), codes, seed=seed)
    except ValueError as error:
        return metrics, [f"no intervals: {error}"]
    for value, low, high in zip(metrics.values(), *ends, strict=True):
        value.update(low=float(low), high=float(high))
    return metrics, []


def _verification(
    pairs: Pairs, far: float, coarse: bool
) -> tuple[dict[str, Value], dict[str, Any], list[str]]:
    """Metrics over all pairs, the histogram of their similarities, and what is absent and why."""
    shown: dict[str, Any] = {**histogram(pairs), "threshold": None, "far": far}
    found: dict[str, float] = {}
    absent: list[str] = []
    try:
        found["auc"] = auc(pairs)
        point = tar_at_far(pairs, far, coarse)
        found[f"tar@far={far:g}"], found[f"threshold@far={far:g}"] = point.tar, point.threshold
        found["accuracy"], found["balanced_accuracy"] = point.accuracy, point.balanced_accuracy
        shown["threshold"] = point.threshold
    except ValueError as error:
        what = "true accept rate, threshold and accuracy" if "auc" in found else "verification"
        absent = [f"no {what}: {error}"]
    found.update(distances(pairs))
    return {name: {"value": value} for name, value in found.items()}, shown, absent


def _table(found: Comparison, labels: np.ndarray) -> pl.DataFrame:
    """One line a query."""
    return pl.DataFrame(
        {
            "row": np.arange(len(labels)),
            "label": labels.astype(str).tolist() if labels.dtype == object else labels,
            **{name: pl.Series(column).fill_nan(None) for name, column in found.columns.items()},
            "neighbours": pl.Series(found.nearest).arr.to_list(),
            "scores": pl.Series(found.scores).arr.to_list(),
        }
    )
