"""Gallery health: which enrolled photos cause false matches, or do not resemble their own identity."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from lookalike.evaluation.identification import FPIR, IdentificationPoint
from lookalike.evaluation.validation_vectors import Validation, find_validation_vectors
from lookalike.metrics.inputs import unit_length
from lookalike.search.identify import identification_point

if TYPE_CHECKING:
    from lookalike.search.index import Index

BLOCK = 1 << 24
"""Similarities held at once."""
FAR = 0.01
"""Share of photos of validation identities that are less like their own identity than a photo that is far."""
HUB = 8
"""Photos of other identities whose nearest stranger a photo is, from which it is a hub: 1 is the mean."""


@dataclass(frozen=True, eq=False)
class GalleryHealth:
    """What is wrong in a gallery.

    Attributes:
        photos: one row per enrolled photo, those that cause most false matches first: row, path, label,
            false_matches (validation photos that are given its label because of it), other_label and
            other_similarity (the most similar photo of another identity), own_similarity (of its own; null
            for an only photo), times_nearest (photos of other identities to which it is the most similar
            stranger), problem (in words; empty without any).
        point: the operating point of the index.
        fpir: share of validation photos, as strangers, that are given a name; identities count alike.
        own_limit: similarity to its own identity below which a photo is far from it.
    """

    photos: pl.DataFrame
    point: IdentificationPoint
    fpir: float
    own_limit: float

    @property
    def problems(self) -> pl.DataFrame:
        """The photos with a problem."""
        return self.photos.filter(pl.col("problem") != "")

    def __str__(self) -> str:
        blamed = self.photos.filter(pl.col("false_matches") > 0)
        return (
            f"{len(self.photos):,} enrolled photos of {self.photos['label'].n_unique():,} identities: "
            f"{len(self.problems):,} have a problem, {len(blamed):,} give a name to validation photos. "
            f"{100 * self.fpir:.3g} % of strangers are given a name, {100 * self.point.fpir:.3g} % were "
            f"promised for an average gallery (threshold {self.point.threshold:.3f})"
        )


def gallery_health(index: "Index", fpir: float = FPIR, validation: Validation = None) -> GalleryHealth:
    """Look for enrolled photos that cause false matches.

    Args:
        index: the gallery.
        fpir: as in `Index.identify`.
        validation: as in `Index.identify`; these identities must not be enrolled, since their photos are
            strangers here.

    Raises:
        LookalikeError: there are no validation vectors, or the index is empty.
    """
    point = identification_point(index, fpir, validation)
    vectors, identities = find_validation_vectors(index, validation)
    strangers, unit = unit_length(vectors).astype(np.float32), np.asarray(index.vectors, np.float32)
    labels, codes = np.unique(index.table.frame["label"].cast(pl.String).to_numpy(), return_inverse=True)
    nearest, similarity = _nearest_rows(strangers, unit)
    is_named = similarity >= point.threshold
    other, other_similarity, own_similarity = _neighbours(unit, codes)
    has_other = other >= 0
    frame = pl.DataFrame(
        {
            "row": np.arange(len(unit)),
            "path": index.table.frame["path"],
            "label": labels[codes].tolist(),
            "false_matches": np.bincount(nearest[is_named], minlength=len(unit)),
            "other_label": [labels[codes[row]] if row >= 0 else None for row in other],
            "other_similarity": pl.Series(other_similarity).replace(-np.inf, None),
            "own_similarity": pl.Series(own_similarity).replace(-np.inf, None),
            "times_nearest": np.bincount(other[has_other], minlength=len(unit)),
        }
    )
    limit = _own_limit(strangers, identities)
    texts = [_problem(row, point.threshold, limit) for row in frame.iter_rows(named=True)]
    frame = frame.with_columns(problem=pl.Series(texts, dtype=pl.String))
    order = [pl.col("false_matches"), pl.col("problem") != "", pl.col("other_similarity").fill_null(-1)]
    share = np.bincount(identities, is_named) / np.maximum(np.bincount(identities), 1)
    rate = float(share[np.bincount(identities) > 0].mean())
    return GalleryHealth(frame.sort(order, descending=True, maintain_order=True), point, rate, limit)


def _nearest_rows(queries: np.ndarray, unit: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nearest row of each query, and its similarity."""
    rows, similarities = list[np.ndarray](), list[np.ndarray]()
    step = max(1, BLOCK // len(unit))
    for start in range(0, len(queries), step):
        cosine = queries[start : start + step] @ unit.T
        rows.append(cosine.argmax(axis=1))
        similarities.append(cosine.max(axis=1))
    return np.concatenate(rows), np.concatenate(similarities)


def _neighbours(unit: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The nearest row of another identity of each row, its similarity, and that to the nearest of its own."""
    size = len(unit)
    rows, others, owns = np.empty(size, np.int64), np.empty(size), np.empty(size)
    step = max(1, BLOCK // size)
    for start in range(0, size, step):
        part = slice(start, min(start + step, size))
        cosine = unit[part] @ unit.T
        cosine[np.arange(len(cosine)), np.arange(part.start, part.stop)] = -np.inf
        same = codes[part, None] == codes
        owns[part] = np.where(same, cosine, -np.inf).max(axis=1)
        cosine[same] = -np.inf
        rows[part], others[part] = cosine.argmax(axis=1), cosine.max(axis=1)
    return np.where(np.isfinite(others), rows, -1), others, owns


def _own_limit(unit: np.ndarray, codes: np.ndarray) -> float:
    """The similarity to their own identity that few photos of validation identities fall below."""
    similarities = _neighbours(unit, codes)[2]
    similarities = similarities[np.isfinite(similarities)]
    return float(np.quantile(similarities, FAR)) if len(similarities) else -1.0


def _problem(row: dict, threshold: float, own_limit: float) -> str:
    """What is wrong with an enrolled photo, in words."""
    texts = list[str]()
    if row["false_matches"]:
        texts.append(f"gives a name to {row['false_matches']} validation photos")
    other, genuine = row["other_similarity"], row["own_similarity"]
    if other is not None and other >= threshold:
        texts.append(f"resembles {row['other_label']} ({other:.3f})")
    if genuine is not None and genuine < own_limit:
        texts.append(f"unlike the other photos of {row['label']} ({genuine:.3f})")
    if row["times_nearest"] >= HUB:
        texts.append(f"nearest stranger of {row['times_nearest']} photos")
    return "; ".join(texts)


def worst_rows(health: GalleryHealth, most: int) -> Sequence[tuple[str, ...]]:
    """The first problems as rows of a table: label, path, problem."""
    rows = health.problems.head(most).select("label", "path", "problem").rows()
    return [tuple(map(str, row)) for row in rows]
