"""The result of an evaluation: metrics with intervals, tables by query and identity, and its folder."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from lookalike.embeddings import Embeddings
from lookalike.evaluation.pca import Pca
from lookalike.evaluation.protocols.base import TaskPart
from lookalike.evaluation.roc import protocol_roc
from lookalike.evaluation.verification import Value
from lookalike.files import new_folder, write_text
from lookalike.metrics.roc import Roc


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval, where there is one; `float()` gives the value."""

    value: float
    low: float | None = None
    high: float | None = None

    def __float__(self) -> float:
        return float(self.value)

    def __format__(self, spec: str) -> str:
        """The value in this format; without one, all of it."""
        return format(float(self.value), spec) if spec else str(self)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The result of `evaluate`; it prints as a table, and `result["recall@1"]` is an `Estimate`.

    Attributes:
        metrics: name to `value`, and `low` and `high` where there is an interval.
        per_query: one line a query: row, label, every retrieval metric, neighbours (rows) and their scores.
        protocol: hash of the rules, and of `arguments`.
        queries: how many queries have a score.
        lone_queries: how many have no other image of their identity, so none.
        distances: histogram of similarities: edges, positive, negative, threshold.
        notes: what is absent, and why.
        data: hash of which images were queries and which gallery.
        by: column to its table: one line a value, with the mean of every retrieval metric.
        per_pair: one line a pair of a given list; None without a list.
        per_identity: one line an identity: label, and for the metrics of all queries or pairs together what
            each would be if all identities were like it, to first order; two models are compared by it.
        rules: hash of the rules alone.
        arguments: metric to those of its arguments that change its value, are not in its name, and are not
            the defaults; such as the rate that `accuracy` is judged at.
        embeddings: the vectors that were evaluated, where they came with a table; `save` writes them.
        parts: queries and galleries with their vectors, for `roc`; empty for a list of pairs.
    """

    metrics: dict[str, Value]
    per_query: pl.DataFrame
    protocol: str
    queries: int
    lone_queries: int
    distances: dict[str, Any]
    notes: list[str] = field(default_factory=list)
    data: str = ""
    by: dict[str, pl.DataFrame] = field(default_factory=dict)
    per_pair: pl.DataFrame | None = None
    per_identity: pl.DataFrame = field(default_factory=pl.DataFrame)
    rules: str = ""
    arguments: dict[str, dict[str, Any]] = field(default_factory=dict)
    embeddings: Embeddings | None = None
    parts: Sequence[TaskPart] = field(default=(), repr=False)

    def roc(self, seed: int = 0) -> Roc:
        """The ROC curve of the evaluated pairs, with intervals by bootstrap over identities.

        Raises:
            ValueError: the pairs came from a list or a folder, or are of one kind only.
        """
        if not self.parts:
            raise ValueError("roc: this evaluation has no vectors; evaluate vectors by queries and gallery")
        return protocol_roc(self.parts, seed)

    def __getitem__(self, name: str) -> Estimate:
        if name not in self.metrics:
            raise KeyError(f"{name}: was not measured; there are {', '.join(self.metrics)}")
        return Estimate(**self.metrics[name])

    def __contains__(self, name: object) -> bool:
        return name in self.metrics

    def __iter__(self) -> Iterator[str]:
        return iter(self.metrics)

    def __len__(self) -> int:
        return len(self.metrics)

    def __eq__(self, other: object) -> bool:
        """Whether all numbers, hashes and queries are the same."""
        if not isinstance(other, Evaluation):
            return NotImplemented
        same = self.summary() == other.summary() and self.per_query.equals(other.per_query)
        return same and self.per_identity.equals(other.per_identity)

    __hash__ = None  # pyrefly: ignore

    def __str__(self) -> str:
        """One line a metric, then the number of queries, the protocol and the notes."""
        width = max(map(len, self.metrics), default=0)
        lines = []
        for name, each in self.metrics.items():
            interval = f"  {each['low']:.4f} to {each['high']:.4f}" if "low" in each else ""
            lines.append(f"{name:<{width}}  {each['value']:8.4f}{interval}")
        queries = f"{self.queries} queries, " if self.queries else ""
        return "\n".join([*lines, f"{queries}protocol {self.protocol}", *self.notes])

    __repr__ = __str__

    def to_dict(self) -> dict[str, Any]:
        """Flat, as in metrics.json."""
        return self.summary(0 if self.embeddings is None else len(self.embeddings.skipped))

    def to_frame(self) -> pl.DataFrame:
        """One line a metric: metric, value, low, high."""
        rows = [{"metric": name, **asdict(self[name])} for name in self.metrics]
        schema = {"metric": pl.String, "value": pl.Float64, "low": pl.Float64, "high": pl.Float64}
        return pl.DataFrame(rows, schema=schema)

    def save(
        self, folder: str | Path, about: Mapping[str, Any] | None = None, pca: Pca | None = None
    ) -> Path:
        """Write the folder that `lookalike evaluate` writes: metrics.json, per_query.parquet and more.

        Vectors are in it, as an embeddings folder, where the evaluation is of `Embeddings` or of a model.

        Args:
            folder: must not exist.
            about: what made it, for config.yaml.
            pca: the PCA that the vectors were projected by, to save beside them.

        Raises:
            LookalikeError: `folder` exists.
        """
        folder, embeddings = Path(folder), self.embeddings
        about = about or {"made_by": "lookalike.Evaluation.save"}
        paths = None if embeddings is None else embeddings.table.relative_to(folder).frame["path"]
        with new_folder(folder) as temporary:
            self.fill(temporary, about, 0 if embeddings is None else len(embeddings.skipped), paths)
            if pca is not None:
                (temporary / "pca").mkdir()
                pca.save(temporary / "pca")
            if embeddings is not None:
                (temporary / "embeddings").mkdir()
                embeddings.fill(temporary / "embeddings", folder / "embeddings", about)
        return folder

    def fill(
        self, temporary: Path, about: Mapping[str, Any], skipped: int = 0, paths: pl.Series | None = None
    ) -> None:
        """Write metrics.json, distances.json, config.yaml and the tables into an existing folder.

        Args:
            temporary: the folder.
            about: what made it, for config.yaml.
            skipped: images that could not be read.
            paths: of the images, seen from the folder, where they are known.
        """
        write_text(temporary / "metrics.json", json.dumps(self.summary(skipped), indent=2) + "\n")
        write_text(temporary / "distances.json", json.dumps(self.distances) + "\n")
        write_text(
            temporary / "config.yaml", yaml.safe_dump(dict(about), sort_keys=False, allow_unicode=True)
        )
        if self.per_query.height:
            table = self.per_query.clone()
            if paths is not None:
                table.insert_column(1, paths.gather(table["row"]))
            table.write_parquet(temporary / "per_query.parquet")
        if self.per_identity.width > 1:
            self.per_identity.write_parquet(temporary / "per_identity.parquet")
        for column, table in self.by.items():
            table.write_csv(temporary / f"metrics_by_{column}.csv")
        if self.per_pair is not None:
            sides = (
                {}
                if paths is None
                else {f"{side}_path": paths.gather(self.per_pair[side]) for side in ("first", "second")}
            )
            self.per_pair.with_columns(**sides).write_parquet(temporary / "per_pair.parquet")

    def summary(self, skipped: int = 0) -> dict[str, Any]:
        """Flat, as in metrics.json."""
        counts = {"queries": self.queries, "lone_queries": self.lone_queries, "skipped": skipped}
        hashes: dict[str, Any] = {"protocol": self.protocol, "data": self.data, "rules": self.rules}
        if self.arguments:
            hashes["arguments"] = [
                f"{name} {key}={value}"
                for name, each in self.arguments.items()
                for key, value in each.items()
            ]
        return {**self.metrics, **hashes, **counts, "notes": self.notes}
