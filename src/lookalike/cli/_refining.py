"""What the keys of `evaluate` ask for beside plain comparison: metrics, PCA, expansion, re-ranking."""

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import polars as pl
from pydantic import BaseModel, Field

from lookalike.errors import ConfigError, DataError

if TYPE_CHECKING:
    from lookalike.embeddings import Embeddings
    from lookalike.evaluation.evaluate import Evaluation
    from lookalike.evaluation.pca import Pca

log = logging.getLogger(__name__)


class PcaKeys(BaseModel):
    """PCA and whitening."""

    learn_on: Path | None = Field(
        description="embeddings folder or file to learn on; null takes split train of the dataset"
    )
    dim: int | None = Field(ge=1, description="how many directions to keep; null keeps all")
    whiten: Annotated[float, Field(ge=0, le=1)] = Field(
        description="how far to even out the directions: 0 not at all, 1 fully"
    )

    @property
    def is_requested(self) -> bool:
        """Whether any of it is asked for."""
        return self.learn_on is not None or self.dim is not None or self.whiten > 0


class ExpandKeys(BaseModel):
    """Alpha query expansion and database augmentation."""

    queries: int = Field(ge=0, description="nearest rows that a query is moved towards; 0 for none")
    gallery: int = Field(ge=0, description="nearest rows that a gallery row is moved towards; 0 for none")
    alpha: float = Field(ge=0, description="a row weighs its similarity to this power")


class RerankKeys(BaseModel):
    """k-reciprocal re-ranking."""

    k1: int = Field(ge=0, description="neighbours looked at, 20 in the paper; 0 for no re-ranking")
    k2: int = Field(ge=1, description="neighbours that a neighbourhood is averaged over")
    weight: Annotated[float, Field(ge=0, le=1)] = Field(description="of the original distance")


@dataclass(frozen=True, eq=False)
class RefinedVectors:
    """What is evaluated after the plain vectors were.

    Attributes:
        embeddings: projected, if there is a PCA.
        arguments: for `evaluate`: `refine` and `rerank`.
        steps: what was done, in words.
        pca: as it was learned.
    """

    embeddings: "Embeddings"
    arguments: dict[str, Any] = field(default_factory=dict)
    steps: list[str] = field(default_factory=list)
    pca: "Pca | None" = None


def refine_embeddings(
    embeddings: "Embeddings",
    learn_on: "Embeddings | None",
    pca: PcaKeys,
    expand: ExpandKeys,
    rerank: RerankKeys,
) -> RefinedVectors:
    """What the keys ask for; without steps if that is nothing.

    Raises:
        DataError: the vectors do not allow it.
    """
    from functools import partial

    from lookalike.evaluation.query_expansion import augment_gallery, expand_queries
    from lookalike.evaluation.rerank import KReciprocal

    steps: list[str] = []
    learned: Pca | None = None
    if learn_on is not None:
        embeddings, learned = _project_embeddings(embeddings, learn_on, pca)
        steps.append(
            f"pca to {len(learned.spread)} dimensions, whiten={pca.whiten:g}, learned on {len(learn_on)}"
        )
    arguments: dict[str, Any] = {"refine": []}
    for count, function, words in (
        (expand.gallery, augment_gallery, "database augmentation"),
        (expand.queries, expand_queries, "query expansion"),
    ):
        if count:
            arguments["refine"].append(partial(function, n=count, alpha=expand.alpha))
            steps.append(f"{words} with {count} neighbours, alpha={expand.alpha:g}")
    if rerank.k1:
        try:
            arguments["rerank"] = KReciprocal(rerank.k1, rerank.k2, rerank.weight)
        except ValueError as error:
            raise ConfigError(str(error)) from error
        steps.append(f"k-reciprocal re-ranking, k1={rerank.k1}, k2={rerank.k2}, weight={rerank.weight:g}")
    return RefinedVectors(embeddings, arguments, steps, learned)


def _project_embeddings(
    embeddings: "Embeddings", learn_on: "Embeddings", keys: PcaKeys
) -> "tuple[Embeddings, Pca]":
    from lookalike.evaluation.pca import Pca
    from lookalike.metrics.inputs import unit_vectors

    if learn_on.space != embeddings.space and not learn_on.space.startswith("file:"):
        raise DataError(
            f"pca.learn_on={keys.learn_on}: holds vectors of the model {learn_on.space}, and those "
            f"to evaluate are of {embeddings.space}; a PCA holds for vectors of one model"
        )
    known = {row.tobytes() for row in learn_on.vectors}
    tested = sum(row.tobytes() in known for row in embeddings.vectors)
    if 2 * tested > len(embeddings):
        raise DataError(
            f"pca.learn_on={keys.learn_on}: {tested} of the {len(embeddings)} vectors to evaluate are among "
            "those it is to be learned on, so the result would be too good. Learn it on others: embed the "
            "training images (lookalike embed … split=train out=emb/train) and take pca.learn_on=emb/train"
        )
    if tested:
        log.warning("pca.learn_on: %d of the %d vectors to evaluate are in it, too", tested, len(embeddings))
    try:
        learned = Pca.fit(unit_vectors(learn_on.vectors), keys.dim, keys.whiten)
        vectors = unit_vectors(learned(unit_vectors(embeddings.vectors)))
    except ValueError as error:
        raise DataError(str(error)) from error
    space = f"{embeddings.space}+pca{len(learned.spread)}w{keys.whiten:g}"
    return replace(embeddings, vectors=vectors, space=space, model=None), learned


def add_values_before(after: "Evaluation", before: "Evaluation", steps: list[str], seed: int) -> "Evaluation":
    """The evaluation after the steps, with the plain numbers as `before_…` and the differences in words."""
    from lookalike.metrics.paired_tests import paired_differences
    from lookalike.metrics.records import sign_of

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
    plain = {f"before_{name}": value for name, value in before.metrics.items()}
    return replace(after, metrics={**after.metrics, **plain}, notes=[*notes, *after.notes])


def _column_values(evaluation: "Evaluation", name: str) -> np.ndarray:
    return evaluation.per_query[name].cast(pl.Float64).fill_null(np.nan).to_numpy()


def requested_functions(nodes: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The functions that the chosen metrics name, with their values set.

    Raises:
        ConfigError: one of them is no metric.
    """
    from functools import partial

    from hydra.utils import get_object

    from lookalike.metrics.selection import required_inputs

    functions = {}
    for name, node in nodes.items():
        if "_target_" not in node:
            raise ConfigError(f"metric.{name}: names no _target_, so there is no function to call")
        values = {key: value for key, value in node.items() if not key.startswith("_")}
        functions[name] = partial(get_object(node["_target_"]), **values)
        try:
            required_inputs(functions[name])
        except ValueError as error:
            raise ConfigError(f"metric.{name}: {error}") from error
    return functions
