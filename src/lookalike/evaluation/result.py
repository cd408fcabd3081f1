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
    """A value with its 95 % interval, if it has one; `float()` returns the value."""

    value: float
    low: float | None = None
    high: float | None = None

    def __float__(self) -> float:
        return float(self.value)

    def __format__(self, spec: str) -> str:
        """The value in this format; by default the value with its interval."""
        return format(float(self.value), spec) if spec else str(self)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The result of `evaluate`; it prints as a table, and `result["recall@1"]` is an `Estimate`.

    Attributes:
        metrics: name to `value`, and `low` and `high` if it has an interval.
        per_query: one row per query: row, label, every retrieval metric, neighbours (rows) and their scores.
        protocol: hash of the rules, and of `arguments`.
        queries: number of queries with a score.
        lone_queries: number of queries without a relevant image.
        distances: histogram of similarities: edges, positive, negative, threshold.
        notes: what is omitted, and why.
        data: hash of the images used as queries and gallery.
        by: column to its table: one row per value, with the mean of every retrieval metric.
        per_pair: one row per pair of a given list; None without a list.
        per_identity: one row per identity: label, and the value of each metric of all queries or pairs if all
            identities were like this one, to first order; used to compare two models.
        rules: hash of the rules alone.
        arguments: metric to the arguments that change its value and are neither in its name nor the defaults,
            such as the rate of `accuracy`.
        embeddings: the evaluated vectors, if they came with a table; `save` writes them.
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
            raise ValueError(
                "roc: this evaluation has no vectors; evaluate vectors with a protocol of queries and gallery"
            )
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
        """Whether all values, hashes and queries are equal."""
        if not isinstance(other, Evaluation):
            return NotImplemented
        same = self.summary() == other.summary() and self.per_query.equals(other.per_query)
        return same and self.per_identity.equals(other.per_identity)

    __hash__ = None  # pyrefly: ignore

    def __str__(self) -> str:
        """One line per metric, then the number of queries, the protocol and the notes."""
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
        """One row per metric: metric, value, low, high."""
        rows = [{"metric": name, **asdict(self[name])} for name in self.metrics]
        schema = {"metric": pl.String, "value": pl.Float64, "low": pl.Float64, "high": pl.Float64}
        return pl.DataFrame(rows, schema=schema)

    def save(
        self, folder: str | Path, about: Mapping[str, Any] | None = None, pca: Pca | None = None
    ) -> Path:
        """Write the same folder as `lookalike evaluate`: metrics.json, per_query.parquet and more.

        It includes the vectors, as an embeddings folder, if `Embeddings` or a model were evaluated.

        Args:
            folder: must not exist.
            about: content of config.yaml.
            pca: the PCA applied to the vectors, saved with them.

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
            about: content of config.yaml.
            skipped: number of images that could not be read.
            paths: of the images, relative to the folder, if known.
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
