"""The job `evaluate`: vectors, or a model and a dataset, become metrics with intervals."""

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from lookalike.jobs._embedding import Source

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from lookalike.embeddings import Embeddings
    from lookalike.evaluation import Evaluation

WIDE = 110
MEANINGS = {
    "recall@": "one of the nearest {} shows the same",
    "precision@": "share of the nearest {} that show the same",
    "map@r": "how well all images of the same come first, cut at their number",
    "r_precision": "share that show the same, of as many as there are",
    "map": "average precision over all images of the same",
    "auc": "a same pair is more similar than a different one",
    "tar@far=": "same pairs accepted when {} of different pairs are",
    "threshold@far=": "accept when the cosine similarity is at least this",
    "accuracy": "pairs decided rightly at this threshold",
    "balanced_accuracy": "the same, with as many same as different pairs",
    "positive_cosine_mean": "1 - similarity of same pairs, mean",
    "negative_cosine_mean": "1 - similarity of different pairs, mean",
    "positive_euclidean_mean": "Euclidean distance of same pairs, mean",
    "negative_euclidean_mean": "Euclidean distance of different pairs, mean",
    "operating_threshold": "the model's own threshold, chosen on validation identities",
    "operating_far": "different pairs that it accepts here",
    "operating_tar": "same pairs that it accepts here",
    "map@": "precision at the right ones among the nearest {}, over as many as could be",
    "ndcg@": "discounted gain of the nearest {}, of the best possible",
    "hits@": "how many of the nearest {} show the same",
    "mrr": "1 / position of the first one that shows the same",
    "minp": "how early the last one that shows the same comes",
    "knn@": "the vote of the nearest {} is right",
    "knn_top5@": "one of the first five of that vote is right",
    "gap": "average precision of all first hits sorted together",
    "dir@far=": "known queries found when {} of unknown ones are, too",
    "eer": "as many different pairs accepted as same pairs refused",
    "fnmr@far=": "same pairs refused when {} of different pairs are accepted",
    "fold_accuracy": "pairs decided rightly at the threshold of the other folds",
    "nmi": "agreement of clusters and identities",
    "ami": "the same, less what chance gives",
    "ari": "pairs put together or apart rightly, less chance",
    "effective_rank": "dimensions that the vectors fill",
    "hubness_skewness": "0: all images are found alike; high: few are found by many",
    "anti_hubs": "share of images that nothing finds",
    "alignment": "mean squared distance of same pairs",
    "uniformity": "how evenly vectors are spread, lower is better",
}


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


def main(config: Config) -> Path:
    """Evaluate, show the metrics, and return the evaluation folder."""
    from lookalike.config import build
    from lookalike.errors import DataError
    from lookalike.evaluation import evaluate
    from lookalike.files import refuse_existing
    from lookalike.jobs._embedding import vectors_of
    from lookalike.operating import read_point

    refuse_existing(config.out)
    protocol = build(config.protocol, "protocol")
    metrics = functions_of(config.metric)
    default = ["test"] if config.embeddings is None else None
    split = [config.split] if isinstance(config.split, str) else config.split or default
    embeddings = vectors_of(config, split)
    point = None if embeddings.model is None else read_point(embeddings.model)
    if point is not None and point.space != embeddings.space:
        log.warning(
            "%s has another model by now; its threshold is not tried on these vectors", embeddings.model
        )
        point = None
    try:
        found = evaluate(
            embeddings.vectors,
            embeddings.table.labels,
            frame=embeddings.table.frame,
            metrics=metrics,
            ks=config.ks,
            far=config.far,
            coarse_far=config.coarse_far,
            threshold=None if point is None else point.threshold,
            intervals=config.intervals,
            seed=config.seed,
            protocol=protocol,
            by=config.by,
            progress=config.progress,
        )
    except ValueError as error:
        raise DataError(str(error)) from error
    write(config.out, found, embeddings, {"job": "evaluate", **config.model_dump(mode="json")})
    _show(found, len(embeddings.skipped))
    return config.out


def functions_of(nodes: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The functions that the chosen metrics name, with their values set.

    Raises:
        ConfigError: one of them is no metric.
    """
    from functools import partial

    from hydra.utils import get_object

    from lookalike.errors import ConfigError
    from lookalike.metrics.chosen import takes

    found = {}
    for name, node in nodes.items():
        if "_target_" not in node:
            raise ConfigError(f"metric.{name}: names no _target_, so there is no function to call")
        values = {key: value for key, value in node.items() if not key.startswith("_")}
        found[name] = partial(get_object(node["_target_"]), **values)
        try:
            takes(found[name])
        except ValueError as error:
            raise ConfigError(f"metric.{name}: {error}") from error
    return found


def write(folder: Path, found: "Evaluation", embeddings: "Embeddings", about: dict[str, Any]) -> None:
    """An evaluation folder: metrics.json, per_query.parquet, distances.json, config.yaml and embeddings/.

    Also metrics_by_<column>.csv for each column asked for, and per_pair.parquet for a list of pairs.

    Raises:
        LookalikeError: `folder` exists.
    """
    import yaml

    from lookalike.files import new_folder, write_text

    paths = embeddings.table.relative_to(folder).frame["path"]
    per_query = found.per_query
    with new_folder(folder) as beside:
        metrics = json.dumps(found.summary(len(embeddings.skipped)), indent=2)
        write_text(beside / "metrics.json", metrics + "\n")
        write_text(beside / "distances.json", json.dumps(found.distances) + "\n")
        write_text(beside / "config.yaml", yaml.safe_dump(about, sort_keys=False, allow_unicode=True))
        if per_query.height:
            per_query = per_query.clone().insert_column(1, paths.gather(per_query["row"]))
            per_query.write_parquet(beside / "per_query.parquet")
        for column, table in found.by.items():
            table.write_csv(beside / f"metrics_by_{column}.csv")
        if found.per_pair is not None:
            sides = {f"{side}_path": paths.gather(found.per_pair[side]) for side in ("first", "second")}
            found.per_pair.with_columns(**sides).write_parquet(beside / "per_pair.parquet")
        (beside / "embeddings").mkdir()
        embeddings.fill(beside / "embeddings", folder / "embeddings", about)


def _show(found: "Evaluation", skipped: int) -> None:
    """The metrics as a table, and below it what is left out."""
    from rich.console import Console
    from rich.table import Table

    console = Console(emoji=False)
    wide = console.width >= WIDE
    table = Table("metric", "value", "95 % interval", *["in words"] * wide)
    for name, value in found.metrics.items():
        interval = f"{value['low']:.4f} to {value['high']:.4f}" if "low" in value else ""
        table.add_row(name, f"{value['value']:.4f}", interval, *[_meaning(name)] * wide)
    console.print(table)
    unread = [f"{skipped} images cannot be read and are left out"] if skipped else []
    queries = f"{found.queries} queries, " if found.queries else ""
    for note in [f"{queries}protocol {found.protocol}", *found.notes, *unread]:
        console.print(note, markup=False, highlight=False, emoji=False)


def _meaning(name: str) -> str:
    if name in MEANINGS:
        return MEANINGS[name]
    for start, words in MEANINGS.items():
        if start[-1] in "@=" and name.startswith(start):
            return words.format(name.removeprefix(start))
    return ""
