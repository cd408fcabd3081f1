"""Evaluate embeddings: retrieval and verification, with confidence intervals."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import ArrayLike

from lookalike.data.table import Table
from lookalike.evaluation.arguments import (
    Metrics,
    functions_of,
    names_of,
    number,
    rates_of,
    rules_of,
    whole_number,
    whole_numbers,
)
from lookalike.evaluation.identification import FPIR
from lookalike.evaluation.identification_metrics import add_ends, own_point, rates_at
from lookalike.evaluation.inputs import Source, resolve_inputs
from lookalike.evaluation.operating_point import own_threshold
from lookalike.evaluation.pair_blocks import identity_counts
from lookalike.evaluation.protocol_result import Rerank, data_hash, rank_parts
from lookalike.evaluation.protocols.base import Rules, Samples
from lookalike.evaluation.protocols.checking import (
    check_columns,
    check_parts,
    check_table,
    reason_nothing_to_find,
)
from lookalike.evaluation.protocols.pairs import PairList, counts_of_listed_pairs
from lookalike.evaluation.protocols.retrieval import SelfRetrieval
from lookalike.evaluation.result import Evaluation
from lookalike.evaluation.validation_vectors import Validation
from lookalike.evaluation.verification import (
    Value,
    add_estimates,
    add_intervals,
    identity_table,
    verification_metrics,
)
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
"""Metrics at the first false accept rate, which their names do not contain."""

LONE = {"left_out": "not scored", "zero": "scored as 0"}


def evaluate(
    vectors: Source,
    labels: ArrayLike | Table | None = None,
    *,
    split: str | Sequence[str] | None = None,
    frame: Table | pl.DataFrame | Mapping[str, ArrayLike] | Any = None,
    metrics: Metrics | None = None,
    ks: int | Sequence[int] = (1, 5, 10),
    far: float | Sequence[float] = FAR,
    coarse_far: bool = False,
    threshold: float | None = None,
    fpir: float = FPIR,
    validation: Validation = None,
    intervals: bool = True,
    seed: int = 0,
    neighbours: int = 10,
    protocol: str | Rules | None = None,
    by: str | Sequence[str] = (),
    refine: Sequence[Callable[[RetrievalTask], RetrievalTask]] = (),
    rerank: Rerank | None = None,
    dim: int | None = None,
    batch_size: int = 64,
    workers: int = 0,
    device: str | torch.device | None = None,
    progress: bool = False,
) -> Evaluation:
    """Evaluate retrieval of every query in its gallery, and verification over all pairs.

    Results are exact. Time grows with the square of the number of images, memory linearly. Definitions are in
    docs/evaluate.md.

    Args:
        vectors: vectors [N, D], which are normalised (the similarity is the cosine); or `Embeddings`, an
            embeddings folder or a file of vectors; or a model or its folder, with a table as second argument.
        labels: identities, integers (64 bits) or strings, [N]; those of `Embeddings` if not given. For a
            model, the images to embed: a `Table`, a torch Dataset of (image, label), a dataset folder or a
            table file.
        split: evaluate only the rows of these splits; all if not given.
        frame: further columns of the images, N rows: role, group, fold or path for the protocols that need
            them, and any that are named in `by`; a frame of polars or pandas, or columns by name.
        metrics: names as in conf/metric, functions, a list of both, or functions by name; those of
            `lookalike.metrics.selection.DEFAULT` if not given.
        ks: values of k for recall@k and similar metrics.
        far: false accept rates; `accuracy` and the threshold of the histogram are those of the first.
        coarse_far: allow a `far` below the resolution of the pairs; otherwise its metrics are omitted, with a
            note.
        threshold: a similarity to evaluate here: operating_far and operating_tar; that of the operating point
            of the model if not given, where the model or its folder is known, and `refine` and `rerank` are
            not given.
        fpir: false positive identification rate, for identification_threshold, operating_tpir and
            operating_fpir: those of an index of the images, as in `Index.identify`.
        validation: identities to choose that threshold on, as in `Index.identify`; those in the model folder
            if not given. There are no such metrics without any, and with other protocols than `self`.
        intervals: whether to compute 95 % intervals, by bootstrap over identities.
        seed: seed of the bootstrap.
        neighbours: number of nearest neighbours to return per query.
        protocol: rules, or a name as in conf/protocol; by default every image is a query against all others.
        by: columns of `frame`, or `label`; retrieval metrics are also averaged for each of their values.
        refine: functions applied to queries and gallery before ranking, as in
            `lookalike.evaluation.query_expansion`.
        rerank: replaces the ranking by similarity, as in `lookalike.evaluation.rerank`; there is no
            verification then.
        dim: keep the first `dim` dimensions of the vectors, for a model that was trained with `matryoshka=`;
            all if not given.
        batch_size: images per forward pass, if a model is given.
        workers: processes that read images, if a model is given.
        device: device for ranking; the CPU by default. A model stays on its own device.
        progress: show a progress bar on stderr.

    Raises:
        ValueError: vectors are zero or not finite, labels do not match them, no query has a relevant image, a
            column is missing, or an argument is out of range.
        LookalikeError: a folder, file or table cannot be read, or has no rows in `split`.
    """
    fars, ks, by = rates_of(far), whole_numbers(ks, "ks"), names_of(by)
    neighbours, seed = whole_number(neighbours, "neighbours", 1), whole_number(seed, "seed", 0)
    threshold = None if threshold is None else number(threshold, "threshold")
    rules, functions = rules_of(protocol) or SelfRetrieval(), functions_of(metrics)
    selected = DEFAULT if functions is None else functions
    refuse_table = partial(_refuse_table, rules=rules, by=by)
    vectors, labels, frame, embeddings = resolve_inputs(
        *(vectors, labels, frame, split, refuse_table, dim),
        batch_size=batch_size,
        workers=workers,
        progress=progress,
    )
    if threshold is None and embeddings is not None and not refine and rerank is None:
        threshold = own_threshold(embeddings)
    unit = exact_vectors(vectors)
    names, codes = factorise(labels, len(unit))
    is_plain = type(rules) is SelfRetrieval and not refine and rerank is None
    point, notes_on_point = own_point(embeddings, codes, validation, fpir, is_plain)
    samples = Samples(unit, codes, names, frame)
    check_columns(samples, by)
    functions = expand_metrics(selected, ks, fars, coarse_far)
    if isinstance(rules, PairList):
        evaluation = _evaluate_pair_list(
            rules, samples, functions, fars, coarse_far, threshold, seed if intervals else None
        )
        return replace(evaluation, embeddings=embeddings)
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
    numbers = {**numbers, **rates_at(unit, codes, point)}
    means, notes = _means(columns, ranked.codes if intervals else None, seed)
    notes += notes_on_point
    reordered = ["no verification: re-ranking assigns no similarity to pairs"]
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
        add_ends(verified, point)
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
        parts=parts if rerank is None else (),
        notes=notes + missing + absent,
        data=data_hash(parts, samples),
        embeddings=embeddings,
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


def _refuse_table(table: Table, rules: Rules, by: Sequence[str]) -> None:
    check_table(table.labels, table.frame, rules, by)


def _evaluate_pair_list(
    rules: PairList,
    samples: Samples,
    functions: Mapping[str, Function],
    fars: Sequence[float],
    coarse: bool,
    threshold: float | None,
    seed: int | None,
) -> Evaluation:
    """Evaluate verification over the pairs of a list."""
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
    """For each metric, the arguments that are neither in its name nor the defaults."""
    changed = {name: changed_arguments(name, function) for name, function in functions.items()}
    named = {**{name: name for name in functions if name not in sources.values()}, **sources}
    return {name: changed[source] for name, source in named.items() if changed[source]}


def _judged_at(
    arguments: Mapping[str, dict[str, Any]], values: Mapping[str, Value], shown: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """Add the rate of the accuracies if it is not the default."""
    judged = [] if shown.get("far") == FAR else [name for name in JUDGED if name in values]
    return {**arguments, **{name: {"far": shown["far"]} for name in judged}}


def _optional_column(samples: Samples, name: str) -> pl.Series:
    if name == "label":
        return pl.Series("label", samples.names[samples.codes].tolist())
    return samples.frame[name]


def _means(
    columns: dict[str, np.ndarray], codes: np.ndarray | None, seed: int
) -> tuple[dict[str, Value], list[str]]:
    """The mean of each metric over the queries that have a value, with its interval if `codes` are given."""
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
