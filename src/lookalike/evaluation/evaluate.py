"""How good embeddings are: retrieval and verification on unseen identities, with intervals."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
import yaml

from lookalike.embeddings import Embeddings
from lookalike.evaluation.arguments import (
    frame_of,
    functions_of,
    names_of,
    number,
    rates_of,
    rules_of,
    whole_number,
    whole_numbers,
)
from lookalike.evaluation.identity_estimates import add_estimates, identity_table
from lookalike.evaluation.pair_blocks import identity_counts
from lookalike.evaluation.protocol_result import Rerank, data_hash, rank_parts
from lookalike.evaluation.protocols.base import Rules, Samples
from lookalike.evaluation.protocols.checking import check_columns, check_parts, reason_nothing_to_find
from lookalike.evaluation.protocols.pairs import PairList, counts_of_listed_pairs
from lookalike.evaluation.protocols.retrieval import SelfRetrieval
from lookalike.evaluation.verification import Value, add_intervals, verification_metrics
from lookalike.files import new_folder, write_text
from lookalike.metrics.bootstrap import bootstrap_interval
from lookalike.metrics.by_column import mean_by_column
from lookalike.metrics.inputs import exact_vectors, factorise
from lookalike.metrics.selection import (
    DEFAULT,
    Function,
    changed_arguments,
    compute_metrics,
    expand_metrics,
    required_depth,
    required_inputs,
    required_neighbours,
)
from lookalike.metrics.verification import Pairs, eer
from lookalike.metrics.verification_at_threshold import k_fold_accuracy
from lookalike.ranking.task import RetrievalTask

FAR = 1e-3
JUDGED = ("accuracy", "balanced_accuracy")
"""Metrics at the first false accept rate, which is not in their names."""

LONE = {"left_out": "not scored", "zero": "scored as 0"}


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval, as far as there is one; `float()` gives the value."""

    value: float
    low: float | None = None
    high: float | None = None

    def __float__(self) -> float:
        return float(self.value)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What `evaluate` found; printed, it is a table. `result["recall@1"]` is an `Estimate`.

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
        arguments: metric to those of its arguments that change its value, do not stand in its name, and are
            not the defaults; such as the rate that `accuracy` is judged at.
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

    def __getitem__(self, name: str) -> Estimate:
        if name not in self.metrics:
            raise KeyError(f"{name}: not measured; there are {', '.join(self.metrics)}")
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
        """A line for each metric, and what is to be noted."""
        width = max(map(len, self.metrics), default=0)
        lines = []
        for name, each in self.metrics.items():
            interval = f"  {each['low']:.4f} to {each['high']:.4f}" if "low" in each else ""
            lines.append(f"{name:<{width}}  {each['value']:8.4f}{interval}")
        queries = f"{self.queries} queries, " if self.queries else ""
        return "\n".join([*lines, f"{queries}protocol {self.protocol}", *self.notes])

    __repr__ = __str__

    def to_dict(self) -> dict[str, Any]:
        """Flat, as metrics.json has it."""
        return self.summary()

    def to_frame(self) -> pl.DataFrame:
        """One line a metric: metric, value, low, high."""
        rows = [{"metric": name, **asdict(self[name])} for name in self.metrics]
        schema = {"metric": pl.String, "value": pl.Float64, "low": pl.Float64, "high": pl.Float64}
        return pl.DataFrame(rows, schema=schema)

    def save(self, folder: str | Path, about: Mapping[str, Any] | None = None) -> Path:
        """Write an evaluation folder without vectors, which `lookalike compare` reads; it must not exist.

        Raises:
            LookalikeError: `folder` exists.
        """
        with new_folder(folder) as temporary:
            self.fill(temporary, about or {"made_by": "lookalike.Evaluation.save"})
        return Path(folder)

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
        """Flat, as metrics.json has it."""
        counts = {"queries": self.queries, "lone_queries": self.lone_queries, "skipped": skipped}
        hashes: dict[str, Any] = {"protocol": self.protocol, "data": self.data, "rules": self.rules}
        if self.arguments:
            hashes["arguments"] = [
                f"{name} {key}={value}"
                for name, each in self.arguments.items()
                for key, value in each.items()
            ]
        return {**self.metrics, **hashes, **counts, "notes": self.notes}


def evaluate(
    vectors: Any,
    labels: Any = None,
    *,
    frame: Any = None,
    metrics: str | Sequence[str] | Mapping[str, Function] | None = None,
    ks: int | Sequence[int] = (1, 5, 10),
    far: float | Sequence[float] = FAR,
    coarse_far: bool = False,
    threshold: float | None = None,
    intervals: bool = True,
    seed: int = 0,
    neighbours: int = 10,
    protocol: str | Rules | None = None,
    by: str | Sequence[str] = (),
    refine: Sequence[Callable[[RetrievalTask], RetrievalTask]] = (),
    rerank: Rerank | None = None,
    device: str | torch.device | None = None,
    progress: bool = False,
) -> Evaluation:
    """Retrieval of every query in its gallery, and verification over all pairs of the two.

    Exact, in blocks: time grows with the square of the number of images, memory with the number. Definitions
    are in docs/evaluate.md.

    Args:
        vectors: `Embeddings`, or vectors [N, D]; they are normalised, since the similarity is the cosine.
        labels: identities, integers (64 bits) or strings, [N]; those of `Embeddings` if not given.
        frame: further columns of the images, N rows: role, group, fold or path for the protocols that need
            them, and any that are named in `by`; a frame of polars or pandas, or columns by name.
        metrics: names as in conf/metric, or functions by name; those of
            `lookalike.metrics.selection.DEFAULT` if not given.
        ks: the k of recall@k and the like.
        far: false accept rates to judge at; the threshold and accuracy are those of the first.
        coarse_far: allow a `far` finer than the pairs can show; else its metrics are absent, with a note.
        threshold: of a model, to see how it does here: operating_far and operating_tar.
        intervals: whether to give 95 % intervals, by bootstrap over identities.
        seed: of the bootstrap.
        neighbours: how many neighbours of each query to keep.
        protocol: the rules, or a name as in conf/protocol; every image among all others if not given.
        by: columns of `frame`, or `label`, by whose values the retrieval metrics are given, too.
        refine: what is done to queries and gallery before they are compared, as in
            `lookalike.evaluation.query_expansion`.
        rerank: what orders the gallery in place of the similarity, as in `lookalike.evaluation.rerank`;
            there is no verification then.
        device: where to multiply; the CPU if not given.
        progress: show a bar on stderr.

    Raises:
        ValueError: vectors that are not finite or zero, labels that do not fit them, nothing that any query
            could find, a column that is not there, or an argument out of range.
    """
    fars, ks, by = rates_of(far), whole_numbers(ks, "ks"), names_of(by)
    neighbours, seed = whole_number(neighbours, "neighbours", 1), whole_number(seed, "seed", 0)
    threshold = None if threshold is None else number(threshold, "threshold")
    vectors, labels, frame = _split_inputs(vectors, labels, frame)
    metrics = functions_of(metrics)
    unit = exact_vectors(vectors)
    names, codes = factorise(labels, len(unit))
    samples = Samples(unit, codes, names, frame)
    check_columns(samples, by)
    rules = rules_of(protocol) or SelfRetrieval()
    selected = DEFAULT if metrics is None else metrics
    functions = expand_metrics(selected, ks, fars, coarse_far)
    if isinstance(rules, PairList):
        return _evaluate_pair_list(
            rules, samples, functions, fars, coarse_far, threshold, seed if intervals else None
        )
    parts = rules.parts(samples)
    for change in refine:
        parts = [replace(part, task=change(part.task)) for part in parts]
    check_parts(samples, parts)
    ranked = rank_parts(
        parts,
        {name: function for name, function in functions.items() if "ranking" in required_inputs(function)},
        rerank,
        neighbours=required_neighbours(functions, neighbours),
        depth=required_depth(selected, ks),
        fars=fars,
        crossing=any(getattr(each, "func", each) is eer for each in functions.values()),
        device=device,
        progress=progress,
    )
    if not ranked.totals.any():
        raise ValueError(reason_nothing_to_find(samples, parts))
    others = {name: function for name, function in functions.items() if name not in ranked.columns}
    offered = {"neighbours": ranked.neighbours, "pairs": ranked.pairs, "codes": codes}
    if any("unit" in required_inputs(function) for function in others.values()):
        offered["unit"] = unit.astype(np.float32)
    more, numbers, missing, sources = compute_metrics(others, offered)
    arguments = _arguments(functions, sources)
    columns = {
        name: {**ranked.columns, **more}[name] for name in functions if name in {**ranked.columns, **more}
    }
    if rules.lone == "zero":
        columns = {name: np.where(ranked.totals > 0, column, 0.0) for name, column in columns.items()}
    means, notes = _means(columns, ranked.codes if intervals else None, seed)
    reordered = ["no verification: re-ranking orders images, it gives pairs no similarity"]
    verified, histogram, absent = (
        verification_metrics(ranked.pairs, fars, coarse_far) if rerank is None else ({}, {}, reordered)
    )
    verified = {**{name: {"value": float(value)} for name, value in numbers.items()}, **verified}
    judging = {name: function for name, function in others.items() if required_inputs(function) == {"pairs"}}
    estimates, unsure = add_intervals(
        verified,
        ranked.pairs,
        partial(identity_counts, parts, seed=seed),
        fars,
        threshold,
        judging,
        seed if intervals else None,
    )
    if intervals:
        estimates.update(add_estimates(verified, numbers, seed))
    absent += unsure
    lone = ranked.totals == 0
    if lone.any():
        notes.append(f"images with no other image of their identity, so {LONE[rules.lone]}: {lone.sum()}")
    return Evaluation(
        metrics={**means, **verified},
        per_query=ranked.table(names, columns, neighbours),
        protocol=rules.hash_with(judged := _judged_at(arguments, verified, histogram)),
        rules=rules.hash,
        arguments=judged,
        queries=len(lone) if rules.lone == "zero" else int((~lone).sum()),
        lone_queries=int(lone.sum()),
        distances=histogram,
        notes=notes + missing + absent,
        data=data_hash(parts, samples),
        per_identity=identity_table(names, estimates),
        by={
            name: mean_by_column(
                columns,
                _optional_column(samples, name)[ranked.rows],
                ranked.codes,
                seed if intervals else None,
            )
            for name in by
        },
    )


def _split_inputs(vectors: Any, labels: Any, frame: Any) -> tuple[Any, Any, pl.DataFrame]:
    """Vectors, labels and further columns; of `Embeddings` those of its table, where none are given.

    Raises:
        ValueError: there are no labels.
    """
    if isinstance(vectors, Embeddings):
        labels = vectors.table.labels if labels is None else labels
        frame = vectors.table.frame if frame is None else frame
        vectors = vectors.vectors
    if labels is None:
        raise ValueError("labels: each vector needs one; evaluate(vectors, labels) or evaluate(embeddings)")
    return vectors, labels, frame_of(frame)


def _evaluate_pair_list(
    rules: PairList,
    samples: Samples,
    functions: Mapping[str, Function],
    fars: Sequence[float],
    coarse: bool,
    threshold: float | None,
    seed: int | None,
) -> Evaluation:
    """Verification over the pairs of a list."""
    listed = rules.pairs(samples)
    scores, same = listed["similarity"].to_numpy(), listed["same"].to_numpy()
    pairs = Pairs.from_scores(scores[same], scores[~same])
    pair_functions = {
        name: function for name, function in functions.items() if required_inputs(function) == {"pairs"}
    }
    numbers, missing, sources = compute_metrics(pair_functions, {"pairs": pairs})[1:]
    arguments = _arguments(pair_functions, sources)
    verified, histogram, absent = verification_metrics(pairs, fars, coarse)
    codes = samples.codes[listed.select("first", "second").to_numpy()]
    sure = ((codes[:, 0] == codes[:, 1]) == same).all()
    if seed is not None and not sure:
        absent.append("no intervals of verification: the list says otherwise than the labels of its images")
    try:
        folds = listed["fold"].to_numpy()
        numbers.update(k_fold_accuracy(scores, same, folds, codes if sure else None))
    except ValueError as error:
        absent.append(f"no {error}")
    verified = {**{name: {"value": float(value)} for name, value in numbers.items()}, **verified}
    count = partial(counts_of_listed_pairs, codes if sure else None, same, scores, len(samples.names))
    estimates, unsure = add_intervals(
        verified, pairs, count, fars, threshold, pair_functions, seed if sure else None
    )
    if seed is not None:
        estimates.update(add_estimates(verified, numbers, seed))
    pair_text = "\n".join(map(str, listed.select("first", "second", "same").iter_rows()))
    return Evaluation(
        metrics=verified,
        per_query=pl.DataFrame(),
        protocol=rules.hash_with(judged := _judged_at(arguments, verified, histogram)),
        rules=rules.hash,
        arguments=judged,
        queries=0,
        lone_queries=0,
        distances=histogram,
        notes=[
            f"pairs of the list: {same.sum()} same, {(~same).sum()} different",
            *missing,
            *absent,
            *unsure,
        ],
        data=hashlib.sha256(pair_text.encode()).hexdigest()[:12],
        per_pair=listed,
        per_identity=identity_table(samples.names, estimates),
    )


def _arguments(functions: Mapping[str, Function], sources: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Of each metric, or number of a metric, the arguments that neither its name nor its default tells."""
    changed = {name: changed_arguments(name, function) for name, function in functions.items()}
    named = {**{name: name for name in functions if name not in sources.values()}, **sources}
    return {name: changed[source] for name, source in named.items() if changed[source]}


def _judged_at(
    arguments: Mapping[str, dict[str, Any]], values: Mapping[str, Value], shown: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """With the rate that accuracies are judged at, where it is not the default."""
    judged = [] if shown.get("far") == FAR else [name for name in JUDGED if name in values]
    return {**arguments, **{name: {"far": shown["far"]} for name in judged}}


def _optional_column(samples: Samples, name: str) -> pl.Series:
    if name == "label":
        return pl.Series("label", samples.names[samples.codes].tolist())
    return samples.frame[name]


def _means(
    columns: dict[str, np.ndarray], codes: np.ndarray | None, seed: int
) -> tuple[dict[str, Value], list[str]]:
    """The mean of each metric over the queries that have one; with its interval, if `codes` are given."""
    metrics = {name: {"value": float(np.nanmean(column))} for name, column in columns.items()}
    if codes is None or not columns:
        return metrics, []
    try:
        ends = bootstrap_interval(np.stack(list(columns.values()), axis=1), codes, seed=seed, shares=True)
    except ValueError as error:
        return metrics, [f"no intervals: {error}"]
    for value, low, high in zip(metrics.values(), *ends, strict=True):
        value.update(low=float(low), high=float(high))
    return metrics, []
