"""PCA, query expansion and re-ranking: what changes the ranking after the vectors are computed."""

import logging
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import polars as pl

from lookalike.embeddings import Embeddings
from lookalike.errors import DataError
from lookalike.evaluation.evaluate import evaluate
from lookalike.evaluation.pca import Pca
from lookalike.evaluation.query_expansion import augment_gallery, expand_queries
from lookalike.evaluation.rerank import KReciprocal
from lookalike.evaluation.result import Evaluation
from lookalike.metrics.inputs import unit_vectors
from lookalike.metrics.paired_tests import paired_differences
from lookalike.metrics.records import BEFORE, sign_of

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class PcaSettings:
    """PCA and whitening.

    Attributes:
        learn_on: vectors to learn on, of other images than those to evaluate.
        source: where they come from, for messages.
        dim: number of components to keep; None keeps all.
        whiten: how far the variances of the components are evened out: 0 not at all, 1 fully.
    """

    learn_on: Embeddings
    source: str
    dim: int | None = None
    whiten: float = 0.0


@dataclass(frozen=True)
class ExpansionSettings:
    """Alpha query expansion and database augmentation.

    Attributes:
        queries: number of nearest rows that a query is moved towards.
        gallery: number of nearest rows that a gallery row is moved towards.
        alpha: a row is weighted by its similarity to this power.
    """

    queries: int = 0
    gallery: int = 0
    alpha: float = 3.0


@dataclass(frozen=True, eq=False)
class RefinedVectors:
    """What is evaluated after the plain vectors.

    Attributes:
        embeddings: projected, if there is a PCA.
        arguments: for `evaluate`: `refine` and `rerank`.
        steps: what was done, in words; empty if nothing was.
        pca: as it was learned.
    """

    embeddings: Embeddings
    arguments: dict[str, Any] = field(default_factory=dict)
    steps: list[str] = field(default_factory=list)
    pca: Pca | None = None


def refine_embeddings(
    embeddings: Embeddings,
    pca: PcaSettings | None = None,
    expand: ExpansionSettings | None = None,
    rerank: KReciprocal | None = None,
) -> RefinedVectors:
    """Project the vectors, and prepare query expansion and re-ranking for `evaluate`.

    Raises:
        DataError: the vectors to learn on belong to another model or are under test, or allow no PCA.
    """
    expand = expand or ExpansionSettings()
    steps: list[str] = []
    learned: Pca | None = None
    if pca is not None:
        embeddings, learned = _project_embeddings(embeddings, pca)
        steps.append(
            f"pca to {len(learned.spread)} dimensions, whiten={pca.whiten:g}, learned on {len(pca.learn_on)}"
        )
    arguments: dict[str, Any] = {"refine": []}
    for count, function, words in (
        (expand.gallery, augment_gallery, "database augmentation"),
        (expand.queries, expand_queries, "query expansion"),
    ):
        if count:
            arguments["refine"].append(partial(function, n=count, alpha=expand.alpha))
            steps.append(f"{words} with {count} neighbours, alpha={expand.alpha:g}")
    if rerank is not None:
        arguments["rerank"] = rerank
        steps.append(f"k-reciprocal re-ranking, k1={rerank.k1}, k2={rerank.k2}, weight={rerank.weight:g}")
    return RefinedVectors(embeddings, arguments, steps, learned)


def evaluate_refined(
    embeddings: Embeddings,
    pca: PcaSettings | None = None,
    expand: ExpansionSettings | None = None,
    rerank: KReciprocal | None = None,
    **arguments: Any,
) -> tuple[Evaluation, Pca | None]:
    """Evaluate after PCA, query expansion and re-ranking, with the values before them as `before_…`.

    Args:
        embeddings: the vectors. If their model has an operating point, its threshold is evaluated, too.
        pca: None for none.
        expand: None for none.
        rerank: None for none.
        arguments: further ones of `evaluate`.

    Returns:
        The evaluation, with the vectors that were evaluated, and the PCA that projected them.

    Raises:
        DataError: the vectors, their table or the vectors to learn on do not allow it.
    """
    refined = refine_embeddings(embeddings, pca, expand, rerank)
    frame = embeddings.table.frame
    try:
        evaluation = evaluate(embeddings, **arguments)
        if refined.steps:
            arguments["validation"] = None  # it is of other vectors
            judge = partial(evaluate, labels=embeddings.table.labels, frame=frame, **arguments)
            after = judge(refined.embeddings.vectors, **refined.arguments)
            evaluation = add_values_before(after, evaluation, refined.steps, arguments.get("seed", 0))
    except ValueError as error:
        raise DataError(str(error)) from error
    return replace(evaluation, embeddings=refined.embeddings), refined.pca


def _project_embeddings(embeddings: Embeddings, settings: PcaSettings) -> tuple[Embeddings, Pca]:
    learn_on, key = settings.learn_on, f"pca.learn_on={settings.source}"
    if learn_on.space != embeddings.space and not learn_on.space.startswith("file:"):
        raise DataError(
            f"{key}: these are vectors of the model {learn_on.space}, but those to evaluate are of "
            f"{embeddings.space}; a PCA applies to the vectors of one model only"
        )
    known = {row.tobytes() for row in learn_on.vectors}
    tested = sum(row.tobytes() in known for row in embeddings.vectors)
    if 2 * tested > len(embeddings):
        raise DataError(
            f"{key}: contains {tested} of the {len(embeddings)} vectors to evaluate, so the result would be "
            "too good. Learn the PCA on other images: embed the training images "
            "(lookalike embed … split=train out=emb/train) and pass pca.learn_on=emb/train"
        )
    if tested:
        log.warning("%s: contains %d of the %d vectors to evaluate", key, tested, len(embeddings))
    try:
        learned = Pca.fit(unit_vectors(learn_on.vectors), settings.dim, settings.whiten)
        vectors = unit_vectors(learned(unit_vectors(embeddings.vectors)))
    except ValueError as error:
        raise DataError(str(error)) from error
    space = f"{embeddings.space}+pca{len(learned.spread)}w{settings.whiten:g}"
    return replace(embeddings, vectors=vectors, space=space, model=None), learned


def add_values_before(after: Evaluation, before: Evaluation, steps: list[str], seed: int) -> Evaluation:
    """The evaluation after the steps, the values before them as `before_…`, and notes on the differences."""
    notes = [f"after: {step}" for step in steps]
    shared = [
        name for name in after.per_query.columns if name in after.metrics and name in before.per_query.columns
    ]
    for name in shared:
        values = np.stack([_column_values(each, name) for each in (before, after)], axis=1)
        try:
            (test,) = paired_differences(values, before.per_query["label"].to_numpy(), seed=seed)
        except ValueError:
            break
        test = replace(test, sign=sign_of(name))
        notes.append(f"{name} after: {test.verdict}, {test.mean:+z.4f} [{test.low:+z.4f}, {test.high:+z.4f}]")
    plain = {BEFORE + name: value for name, value in before.metrics.items()}
    return replace(after, metrics={**after.metrics, **plain}, notes=[*notes, *after.notes])


def _column_values(evaluation: Evaluation, name: str) -> np.ndarray:
    return evaluation.per_query[name].cast(pl.Float64).fill_null(np.nan).to_numpy()
