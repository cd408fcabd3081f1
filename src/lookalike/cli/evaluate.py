"""The job `evaluate`: vectors, or a model and a dataset, become metrics with intervals."""

import logging
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from lookalike.cli._embedding import Source
from lookalike.cli._refining import ExpandKeys, PcaKeys, RerankKeys
from lookalike.errors import ConfigError, DataError

if TYPE_CHECKING:
    from lookalike.data.table import Table
    from lookalike.embeddings import Embeddings
    from lookalike.evaluation.evaluate import Evaluation
    from lookalike.evaluation.pca import Pca
    from lookalike.evaluation.protocols.base import Rules


log = logging.getLogger(__name__)
Rate = Annotated[float, Field(ge=0, lt=1)]


class Config(Source):
    """The keys of `lookalike evaluate`; their defaults are in conf/evaluate.yaml."""

    split: str | list[str] | None = Field(
        description="split to evaluate; null uses test of a dataset, and all rows of an embeddings folder"
    )
    out: Path = Field(description="evaluation folder to write; must not exist yet")
    ks: list[Annotated[int, Field(ge=1)]] = Field(
        min_length=1, description="values of k for recall@k and precision@k"
    )
    far: Rate | list[Rate] = Field(description="false accept rate for the threshold; [a,b] for several")
    coarse_far: bool = Field(description="allow far below 1 / number of impostor pairs")
    intervals: bool = Field(description="compute 95 % confidence intervals by bootstrap over identities")
    seed: int = Field(ge=0, description="random seed of the intervals")
    by: list[str] = Field(description="columns of the table to break the metrics down by: [label,camera]")
    protocol: dict[str, Any] = Field(description="which rows are queries and which are their gallery")
    metric: dict[str, dict[str, Any]] = Field(
        description="metrics in addition to verification: metric=[recall_at_k,mrr,clustering]"
    )
    embeddings: Path | list[Path] | None = Field(  # pyrefly: ignore
        description="embeddings folder, or file of vectors (.npy, .parquet, .csv); alternatively set "
        "model= and dataset="
    )
    model: Path | list[Path] | None = Field(  # pyrefly: ignore
        description="model folder; embeds the images of dataset=. [a,b] evaluates several models"
    )
    run: Path | None = Field(
        description="run folder trained with keep_epochs=all; evaluates the model of every epoch"
    )
    labels: Path | None = Field(
        description="labels for a file of vectors without labels: .npy, or a table with a column label"
    )
    each: bool = Field(
        description="evaluate each of dataset=[a,b] or embeddings=[a,b] separately, and write a table"
    )
    pca: PcaKeys = Field(description="PCA and whitening, fitted on other vectors: {learn_on, dim, whiten}")
    expand: ExpandKeys = Field(
        description="alpha query expansion and database-side augmentation: {queries, gallery, alpha}"
    )
    rerank: RerankKeys = Field(description="k-reciprocal re-ranking: {k1, k2, weight}")


def main(config: Config) -> Path:
    """Evaluate, show the metrics, and return the evaluation folder."""
    from lookalike.evaluation.tables import show_evaluation
    from lookalike.files import refuse_existing

    refuse_existing(config.out)
    if config.each or config.run is not None or isinstance(config.model, list):
        from lookalike.cli._evaluate_several import evaluate_several

        return evaluate_several(config)
    evaluation, embeddings, learned = run_evaluation(config)
    write_evaluation(
        config.out, evaluation, embeddings, {"job": "evaluate", **config.model_dump(mode="json")}, learned
    )
    show_evaluation(evaluation, len(embeddings.skipped))
    return config.out


def run_evaluation(config: Config) -> "tuple[Evaluation, Embeddings, Pca | None]":
    """What the keys ask for, the vectors it is of, and the PCA that was learned for it."""
    from lookalike.cli._embedding import compute_embeddings, load_or_compute
    from lookalike.config import build
    from lookalike.evaluation.arguments import functions_of_nodes
    from lookalike.evaluation.evaluate import evaluate
    from lookalike.evaluation.refine import add_values_before, refine_embeddings

    protocol, metrics = build(config.protocol, "protocol"), functions_of_nodes(config.metric)
    default = ["test"] if config.embeddings is None else None
    split = [config.split] if isinstance(config.split, str) else config.split or default
    if isinstance(config.embeddings, list):
        raise ConfigError("embeddings=[…]: several are evaluated one by one, with each=true")
    learn_on = _vectors_to_learn_on(config)
    embeddings = load_or_compute(config, split, config.labels, partial(_check, config.by, protocol))
    if (
        config.pca.is_requested
        and learn_on is None
        and isinstance(config.model, Path)
        and config.dataset is not None
    ):
        learn_on = compute_embeddings(config, config.model, config.dataset, ["train"])
    refined_vectors = refine_embeddings(embeddings, *_refinements(config, learn_on))
    judge = partial(
        evaluate,
        labels=embeddings.table.labels,
        frame=embeddings.table.frame,
        metrics=metrics,
        ks=config.ks,
        far=config.far,
        coarse_far=config.coarse_far,
        intervals=config.intervals,
        seed=config.seed,
        protocol=protocol,
        by=config.by,
        progress=config.progress,
    )
    try:
        evaluation = judge(embeddings.vectors, threshold=_threshold(embeddings))
        if refined_vectors.steps:
            evaluation = add_values_before(
                judge(refined_vectors.embeddings.vectors, **refined_vectors.arguments),
                evaluation,
                refined_vectors.steps,
                config.seed,
            )
    except ValueError as error:
        raise DataError(str(error)) from error
    return evaluation, refined_vectors.embeddings, refined_vectors.pca


def _refinements(config: Config, learn_on: "Embeddings | None") -> "tuple[Any, Any, Any]":
    """The settings of PCA, expansion and re-ranking; None where one is not asked for."""
    from lookalike.evaluation.refine import ExpansionSettings, PcaSettings
    from lookalike.evaluation.rerank import KReciprocal

    pca, keys = config.pca, config.rerank
    source = str(pca.learn_on or f"split train of {config.dataset}")
    projection = None if learn_on is None else PcaSettings(learn_on, source, pca.dim, pca.whiten)
    try:
        rerank = KReciprocal(keys.k1, keys.k2, keys.weight) if keys.k1 else None
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return projection, ExpansionSettings(**config.expand.model_dump()), rerank


def _vectors_to_learn_on(config: Config) -> "Embeddings | None":
    """The vectors that a PCA is to be learned on, if there is to be one and they need not be computed."""
    from lookalike.embeddings import load_embeddings

    if not config.pca.is_requested:
        return None
    if config.pca.learn_on is not None:
        return load_embeddings(config.pca.learn_on, None, labelled=False)
    if config.model is None or config.dataset is None:
        raise ConfigError(
            "pca: say which vectors to learn it on, not those to be tested: pca.learn_on=emb/train"
        )
    return None


def _check(by: list[str], protocol: "Rules", table: "Table") -> None:
    from lookalike.evaluation.protocols.checking import check_table

    try:
        check_table(table.labels, table.frame, protocol, by)
    except ValueError as error:
        raise DataError(str(error)) from error


def _threshold(embeddings: "Embeddings") -> float | None:
    """The one that the model has of its own, if these are its vectors."""
    from lookalike.evaluation.operating_point import read_point

    point = None if embeddings.model is None else read_point(embeddings.model)
    if point is not None and point.space != embeddings.space:
        log.warning("%s has other weights by now; its threshold is not tried here", embeddings.model)
        return None
    return None if point is None else point.threshold


def write_evaluation(
    folder: Path,
    evaluation: "Evaluation",
    embeddings: "Embeddings",
    metadata: dict[str, Any],
    learned: "Pca | None" = None,
) -> None:
    """Write an evaluation folder with the vectors that were evaluated; see `Evaluation.save`.

    Raises:
        LookalikeError: `folder` exists.
    """
    replace(evaluation, embeddings=embeddings).save(folder, metadata, learned)
