"""What grouping photos gives: a name for each photo, a table, and a folder."""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import yaml

from lookalike.cluster.page import write_review
from lookalike.data.table import Table, write_problems
from lookalike.errors import Problem
from lookalike.evaluation.census import IndividualCount
from lookalike.evaluation.identification import IdentificationPoint
from lookalike.files import new_folder
from lookalike.metrics.clustering import agreement
from lookalike.metrics.inputs import factorise
from lookalike.wording import count_noun

if TYPE_CHECKING:
    from lookalike.cluster.inputs import PhotoCollection

BLOCK = 1 << 24
"""Similarities of photos to groups computed at once."""


@dataclass(frozen=True, eq=False)
class Measures:
    """How well each photo fits.

    Attributes:
        similarity: mean cosine similarity to the other photos of its group, enrolled ones included, [N]; NaN
            for a photo that is alone.
        nearest: name of the other group with the greatest mean similarity, [N]; None without any.
        nearest_similarity: this mean, [N].
    """

    similarity: np.ndarray
    nearest: list[str | None]
    nearest_similarity: np.ndarray


@dataclass(frozen=True, eq=False)
class Clustering:
    """Photos grouped by individual.

    Attributes:
        table: of the photos that can be read.
        names: the group of each photo, [N]: an identity of the index, or new-1, new-2, …
        measures: how well each photo fits.
        threshold: least mean similarity at which groups are joined.
        point: the operating point of an index that holds all groups; None where `threshold` was given.
        naming: the operating point of the index, at which a photo gets the name of an identity.
        known: names of the identities of the index.
        count: estimated number of individuals; its estimate is NaN where nothing shows it.
        agreement: NMI, AMI and ARI with the labels of the table, where it has labels.
        vectors: [N, D].
        skipped: photos that cannot be read.
        notes: what was kept together or apart.
    """

    table: Table
    names: list[str]
    measures: Measures
    threshold: float
    point: IdentificationPoint | None
    naming: IdentificationPoint | None
    known: frozenset[str]
    count: IndividualCount
    agreement: dict[str, float]
    vectors: np.ndarray
    skipped: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.names)

    def groups(self) -> dict[str, list[int]]:
        """Rows of each group, the largest first."""
        rows: dict[str, list[int]] = {}
        for row, name in enumerate(self.names):
            rows.setdefault(name, []).append(row)
        return dict(sorted(rows.items(), key=lambda item: -len(item[1])))

    def to_frame(self) -> pl.DataFrame:
        """One row per photo: path, cluster, similarity, nearest_cluster, nearest_similarity, known."""
        measures = self.measures
        return pl.DataFrame(
            {
                "path": self.table.frame["path"],
                "cluster": self.names,
                "similarity": pl.Series(measures.similarity, dtype=pl.Float64).fill_nan(None).round(6),
                "nearest_cluster": pl.Series(measures.nearest, dtype=pl.String),
                "nearest_similarity": pl.Series(measures.nearest_similarity, dtype=pl.Float64)
                .fill_nan(None)
                .round(6),
                "known": [name in self.known for name in self.names],
            }
        )

    def label_table(self) -> Table:
        """The table of the photos with their groups as labels."""
        frame = self.table.frame.with_columns(pl.Series("label", self.names, dtype=pl.String))
        return Table(frame, self.table.folder, self.table.items)

    def __str__(self) -> str:
        return "\n".join(summarise(self))

    def save(self, folder: str | Path, metadata: Mapping[str, Any] | None = None) -> None:
        """Write clusters.parquet, clusters.csv, table.parquet, summary.json, review.html and config.yaml.

        Args:
            folder: must not exist.
            metadata: what made it, for config.yaml.

        Raises:
            LookalikeError: `folder` exists.
        """
        folder = Path(folder)
        with new_folder(folder) as temporary:
            moved = self.label_table().relative_to(folder)
            frame = self.to_frame().with_columns(path=moved.frame["path"])
            frame.write_parquet(temporary / "clusters.parquet")
            frame.write_csv(temporary / "clusters.csv")
            moved.frame.write_parquet(temporary / "table.parquet")
            (temporary / "summary.json").write_text(
                json.dumps(self.to_dict(), indent=2) + "\n", encoding="utf-8"
            )
            text = yaml.safe_dump(
                dict(metadata or {"made_by": "lookalike.cluster"}), sort_keys=False, allow_unicode=True
            )
            (temporary / "config.yaml").write_text(text, encoding="utf-8")
            if self.skipped:
                write_problems(self.skipped, temporary / "skipped.csv")
            if self.has_files:
                write_review(
                    self.label_table(), self.vectors, self.threshold, temporary, folder.name, self.known
                )

    @property
    def has_files(self) -> bool:
        """Whether the photos are files that can be shown."""
        return self.table.items is None and len(self) > 0 and self.table.file(0).exists()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: numbers of photos and groups, threshold, rate and agreement."""
        count, point = self.count, self.point
        number = lambda value: None if math.isnan(value) else round(value, 4)  # noqa: E731
        return {
            "photos": len(self),
            "groups": count.groups,
            "individuals": number(count.value),
            "individuals_interval": [number(count.low), number(count.high)],
            "groups_per_individual": number(count.groups_per_individual),
            "known": len({name for name in self.names if name in self.known}),
            "threshold": self.threshold,
            "fpir": None if point is None else point.fpir,
            "fpir_interval": None if point is None else [point.fpir_low, point.fpir_high],
            "naming_threshold": None if self.naming is None else self.naming.threshold,
            "agreement": {name: round(value, 6) for name, value in self.agreement.items()},
            "skipped": len(self.skipped),
        }


def summarise(clustering: Clustering) -> list[str]:
    """The result in sentences."""
    sizes = Counter(Counter(clustering.names).values())
    known = {name for name in clustering.names if name in clustering.known}
    photos, groups = count_noun(len(clustering), "photo"), count_noun(clustering.count.groups, "group")
    lines = [f"{photos} in {groups}, {sizes.get(1, 0)} of them of one photo"]
    if clustering.known:
        new = clustering.count.groups - len(known)
        lines.append(f"{len(known)} groups are identities of the index, {new} are new")
    if math.isnan(clustering.count.value):
        lines.append(
            "the number of individuals is not estimated: that needs the vectors of at least 8 validation "
            "identities (validation=)"
        )
    else:
        lines.append(str(clustering.count))
    if clustering.agreement:
        parts = ", ".join(f"{name.upper()} {value:.3f}" for name, value in clustering.agreement.items())
        lines.append(f"agreement with the labels, which were not used: {parts}")
    return lines


def compare_labels(collection: "PhotoCollection", codes: np.ndarray) -> dict[str, float]:
    """NMI, which is also the V-measure, AMI and ARI of groups and labels; empty without labels."""
    if not collection.labelled or not len(codes):
        return {}
    labels = factorise(collection.table.labels, len(codes))[1]
    return {name: float(value) for name, value in agreement(labels, codes).items()}


def measure_rows(unit: np.ndarray, codes: np.ndarray, names: Sequence[str]) -> Measures:
    """How well each of the first rows fits its group, and which other group is next.

    Args:
        unit: vectors of length 1, [M, D]; enrolled ones follow those of the photos.
        codes: groups, [M].
        names: of the groups of the photos, [N].
    """
    size, counts = len(names), np.bincount(codes)
    sums = np.zeros((len(counts), unit.shape[1]))
    np.add.at(sums, codes, unit.astype(np.float64))
    titles = dict(zip(codes[:size].tolist(), names, strict=True))
    shown = np.array(sorted(titles), np.int64)
    means = (sums[shown] / counts[shown, None]).astype(np.float32)
    group_sizes = counts[codes[:size]]
    inside = np.einsum("nd,nd->n", unit[:size].astype(np.float64), sums[codes[:size]]) - 1
    similarity = np.where(group_sizes > 1, inside / np.maximum(group_sizes - 1, 1), np.nan)
    nearest = list[str | None]()
    nearest_similarity = np.full(size, np.nan)
    step = max(1, BLOCK // max(len(shown), 1))
    for start in range(0, size, step):
        rows = slice(start, min(start + step, size))
        products = unit[rows] @ means.T
        products[np.arange(len(products)), np.searchsorted(shown, codes[rows])] = -np.inf
        best = products.argmax(axis=1)
        value = products[np.arange(len(products)), best]
        nearest += [
            titles[int(shown[b])] if np.isfinite(v) else None for b, v in zip(best, value, strict=True)
        ]
        nearest_similarity[rows] = np.where(np.isfinite(value), value, np.nan)
    return Measures(np.minimum(similarity, 1.0), nearest, np.minimum(nearest_similarity, 1.0))
