"""Texts beside images: their vectors, and recall from text to image and from image to text."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from lookalike.data.table import Table
from lookalike.embeddings import Embeddings
from lookalike.errors import ConfigError, DataError
from lookalike.evaluation.result import Evaluation
from lookalike.metrics.bootstrap import bootstrap_interval
from lookalike.metrics.inputs import unit_vectors
from lookalike.model.text import TextTower, require_space
from lookalike.model.truncation import match_space

log = logging.getLogger(__name__)
BLOCK = 512
"""Queries that are ranked at once."""


@dataclass(frozen=True)
class Recall:
    """The share of queries with a relevant row among the nearest k.

    Attributes:
        name: text_to_image_recall@k or image_to_text_recall@k.
        value: the share.
        low: lower end of its 95 % interval, by bootstrap over the texts; None without one.
        high: upper end.
        chance: what random ranking would give.
        queries: how many.
    """

    name: str
    value: float
    low: float | None
    high: float | None
    chance: float
    queries: int

    def __str__(self) -> str:
        """One line."""
        interval = "" if self.low is None else f" [{100 * self.low:.1f}, {100 * (self.high or 0):.1f}]"
        return (
            f"{self.name}: {100 * self.value:.1f} %{interval} of {self.queries:,} queries "
            f"(chance {100 * self.chance:.2g} %)"
        )


def column_texts(table: Table, column: str) -> tuple[np.ndarray, np.ndarray]:
    """The texts of a column, and the rows [n] that have one; rows without are counted in a message.

    Raises:
        ConfigError: there is no such column.
        DataError: no row has a text.
    """
    if column not in table.frame.columns:
        raise ConfigError(
            f"text={column}: the table has no such column; it has {', '.join(table.frame.columns)}"
        )
    texts = table.frame[column].cast(pl.String).fill_null("").str.strip_chars()
    rows = np.flatnonzero(texts.str.contains(r"[\p{L}\p{N}]").to_numpy())
    if not len(rows):
        raise DataError(f"{table.folder}: text={column}: none of the {len(table)} rows has a text")
    if len(rows) < len(table):
        log.warning(
            "text=%s: %d of %d rows have no text and are left out", column, len(table) - len(rows), len(table)
        )
    return texts.gather(rows.tolist()).to_numpy().astype(str), rows


def embed_texts(tower: TextTower, table: Table, column: str, dim: int | None = None) -> Embeddings:
    """The vectors of the texts of a column, in the space of the images of the tower's model.

    Args:
        tower: computes them.
        table: rows without a text are left out.
        column: of the texts.
        dim: keep the first `dim` dimensions.
    """
    texts, rows = column_texts(table, column)
    names, codes = np.unique(texts, return_inverse=True)
    kept = np.zeros(len(table), bool)
    kept[rows] = True
    embeddings = Embeddings(tower.embed(names.tolist())[codes], table.take(kept), tower.space)
    return embeddings if dim is None else embeddings.truncate(dim)


def text_recall(
    tower: TextTower,
    images: Embeddings,
    column: str,
    ks: Sequence[int] = (1, 5, 10),
    intervals: bool = True,
    seed: int = 0,
) -> list[Recall]:
    """Recall@k of images by their texts, and of texts by their images.

    An image is relevant to a text if the column says so of it; equal texts are one text. Of equal
    similarities the worst order is assumed.

    Args:
        tower: embeds the texts.
        images: vectors of images, of the tower's model.
        column: of the table of `images`.
        ks: numbers of nearest rows.
        intervals: whether to compute 95 % intervals.
        seed: of the bootstrap.

    Raises:
        LookalikeError: the vectors are of another model.
    """
    tower = match_space(tower, images.space)
    require_space(tower, images.space, "the index or embeddings folder")
    texts, rows = column_texts(images.table, column)
    names, codes = np.unique(texts, return_inverse=True)
    of_images = unit_vectors(images.vectors[rows]).astype(np.float64)
    of_texts = unit_vectors(tower.embed(names.tolist())).astype(np.float64)
    numbers = np.arange(len(names))
    ranks = {
        "text_to_image": (_ranks(of_texts, of_images, numbers, codes), numbers, codes),
        "image_to_text": (_ranks(of_images, of_texts, codes, numbers), codes, numbers),
    }
    return [
        _recall(
            f"{kind}_recall@{k}", rank < k, units, _chance(units, gallery, k), seed if intervals else None
        )
        for kind, (rank, units, gallery) in ranks.items()
        for k in ks
    ]


def with_text_recall(evaluation: Evaluation, recalls: Sequence[Recall]) -> Evaluation:
    """The evaluation with these values among its metrics, and with what chance would give in its notes."""
    metrics: dict[str, dict[str, float]] = {
        each.name: {
            "value": each.value,
            **({} if each.low is None or each.high is None else {"low": each.low, "high": each.high}),
        }
        for each in recalls
    }
    notes = [f"{each.name}: chance is {100 * each.chance:.2g} %" for each in recalls]
    return replace(evaluation, metrics={**evaluation.metrics, **metrics}, notes=[*evaluation.notes, *notes])


def _ranks(
    queries: np.ndarray, gallery: np.ndarray, query_codes: np.ndarray, gallery_codes: np.ndarray
) -> np.ndarray:
    """For each query, how many irrelevant rows are at least as near as its nearest relevant one."""
    ranks = np.empty(len(queries), np.int64)
    for start in range(0, len(queries), BLOCK):
        part = slice(start, start + BLOCK)
        similarity = queries[part] @ gallery.T
        relevant = query_codes[part, None] == gallery_codes[None]
        best = np.where(relevant, similarity, -np.inf).max(axis=1, keepdims=True)
        ranks[part] = ((similarity >= best) & ~relevant).sum(axis=1)
    return ranks


def _chance(query_codes: np.ndarray, gallery_codes: np.ndarray, k: int) -> float:
    """Mean probability that one of k rows drawn at random is relevant."""
    size, counts = len(gallery_codes), np.bincount(gallery_codes)[query_codes]
    missed = np.ones(len(query_codes))
    for row in range(min(k, size)):
        missed *= np.clip((size - counts - row) / (size - row), 0, 1)
    return float((1 - missed).mean())


def _recall(name: str, hits: np.ndarray, units: np.ndarray, chance: float, seed: int | None) -> Recall:
    low: Any = None
    high: Any = None
    if seed is not None:
        try:
            ends = bootstrap_interval(hits[:, None].astype(float), units, seed=seed, shares=True)
            low, high = float(ends[0][0]), float(ends[1][0])
        except ValueError as error:
            log.info("%s: no interval: %s", name, error)
    return Recall(name, float(hits.mean()), low, high, chance, len(hits))
