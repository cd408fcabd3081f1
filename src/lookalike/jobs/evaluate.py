"""The job `evaluate`: vectors, or a model and a dataset, become metrics with intervals."""

import logging
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from lookalike.errors import ConfigError, DataError
from lookalike.jobs._embedding import Source
from lookalike.jobs._refining import ExpandKeys, PcaKeys, RerankKeys

if TYPE_CHECKING:
    from lookalike.data.table import Table
    from lookalike.embeddings import Embeddings
    from lookalike.evaluation import Evaluation
    from lookalike.protocols.base import Rules
    from lookalike.refine.pca import Pca

log = logging.getLogger(__name__)
Rate = Annotated[float, Field(ge=0, lt=1)]


class Config(Source):
    """The keys of `lookalike evaluate`; their defaults are in conf/evaluate.yaml."""

    split: str | list[str] | None = Field(
        description="split to evaluate; null takes test of a dataset, and everything of embeddings"
    )
    out: Path = Field(description="evaluation folder to write; one that exists is refused")
    ks: list[Annotated[int, Field(ge=1)]] = Field(
        min_length=1, description="the k of recall@k and precision@k"
    )
    far: Rate | list[Rate] = Field(
        description="share of different pairs that the threshold may accept; [a,b] for several"
    )
    coarse_far: bool = Field(description="allow a far below 1 / number of different pairs")
    intervals: bool = Field(description="give 95 % intervals, by bootstrap over identities")
    seed: int = Field(ge=0, description="same seed, same intervals")
    by: list[str] = Field(
        description="columns of the table by whose values the metrics are given, too: [label,camera]"
    )
    protocol: dict[str, Any] = Field(description="who looks for whom")
    metric: dict[str, dict[str, Any]] = Field(
        description="what is measured beside verification: metric=[recall_at_k,mrr,clustering]"
    )
    embeddings: Path | list[Path] | None = Field(  # pyrefly: ignore
        description="embeddings folder, or file of vectors (.npy, .parquet, .csv); or give model and dataset"
    )
    labels: Path | None = Field(
        description="labels of a file of vectors that holds none: .npy, or a table with a column label"
    )
    each: bool = Field(
        description="evaluate each of dataset=[a,b] or embeddings=[a,b] alone, and make a table"
    )
    pca: PcaKeys = Field(description="PCA and whitening, learned on other vectors: {learn_on, dim, whiten}")
    expand: ExpandKeys = Field(
        description="alpha query expansion and database augmentation: {queries, gallery, alpha}"
    )
    rerank: RerankKeys = Field(description="k-reciprocal re-ranking: {k1, k2, weight}")


def main(config: Config) -> Path:
    """Evaluate, show the metrics, and return the evaluation folder."""
    from lookalike.files import refuse_existing
    from lookalike.jobs._evaluation_table import show
    from lookalike.jobs._several import evaluate_each

    refuse_existing(config.out)
    if config.each:
        return evaluate_each(config)
    found, embeddings, learned = evaluated(config)
    write(config.out, found, embeddings, {"job": "evaluate", **config.model_dump(mode="json")}, learned)
    show(found, len(embeddings.skipped))
    return config.out


def evaluated(config: Config) -> "tuple[Evaluation, Embeddings, Pca | None]":
    """What the keys ask for, the vectors it is of, and the PCA that was learned for it."""
    from lookalike.config import build
    from lookalike.evaluation import evaluate
    from lookalike.jobs._embedding import computed, vectors_of
    from lookalike.jobs._refining import functions_of, refined, with_before

    protocol, metrics = build(config.protocol, "protocol"), functions_of(config.metric)
    default = ["test"] if config.embeddings is None else None
    split = [config.split] if isinstance(config.split, str) else config.split or default
    if isinstance(config.embeddings, list):
        raise ConfigError("embeddings=[…]: several are evaluated one by one, with each=true")
    learn_on = _to_learn_on(config)
    embeddings = vectors_of(config, split, config.labels, partial(_check, config.by, protocol))
    if config.pca.wanted and learn_on is None and config.model is not None and config.dataset is not None:
        learn_on = computed(config, config.model, config.dataset, ["train"])
    asked = refined(embeddings, learn_on, config.pca, config.expand, config.rerank)
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
        found = judge(embeddings.vectors, threshold=_threshold(embeddings))
        if asked.steps:
            found = with_before(
                judge(asked.embeddings.vectors, **asked.arguments), found, asked.steps, config.seed
            )
    except ValueError as error:
        raise DataError(str(error)) from error
    return found, asked.embeddings, asked.pca


def _to_learn_on(config: Config) -> "Embeddings | None":
    """The vectors that a PCA is to be learned on, if there is to be one and they need not be computed."""
    from lookalike.jobs._embedding import stored

    if not config.pca.wanted:
        return None
    if config.pca.learn_on is not None:
        return stored(config.pca.learn_on, None, labelled=False)
    if config.model is None or config.dataset is None:
        raise ConfigError(
            "pca: say which vectors to learn it on, not those to be tested: pca.learn_on=emb/train"
        )
    return None


def _check(by: list[str], protocol: "Rules", table: "Table") -> None:
    from lookalike.protocols.checking import check_table

    try:
        check_table(table.labels, table.frame, protocol, by)
    except ValueError as error:
        raise DataError(str(error)) from error


def _threshold(embeddings: "Embeddings") -> float | None:
    """The one that the model has of its own, if these are its vectors."""
    from lookalike.operating import read_point

    point = None if embeddings.model is None else read_point(embeddings.model)
    if point is not None and point.space != embeddings.space:
        log.warning("%s has other weights by now; its threshold is not tried here", embeddings.model)
        return None
    return None if point is None else point.threshold


def write(
    folder: Path,
    found: "Evaluation",
    embeddings: "Embeddings",
    about: dict[str, Any],
    learned: "Pca | None" = None,
) -> None:
    """An evaluation folder: metrics.json, per_query.parquet, distances.json, config.yaml and embeddings/.

    Also per_identity.parquet, metrics_by_<column>.csv for each column asked for, per_pair.parquet for a list
    of pairs, and pca/.

    Raises:
        LookalikeError: `folder` exists.
    """
    from lookalike.files import new_folder

    paths = embeddings.table.relative_to(folder).frame["path"]
    with new_folder(folder) as beside:
        found.fill(beside, about, len(embeddings.skipped), paths)
        if learned is not None:
            (beside / "pca").mkdir()
            learned.save(beside / "pca")
        (beside / "embeddings").mkdir()
        embeddings.fill(beside / "embeddings", folder / "embeddings", about)
