"""The job `evaluate`: vectors, or a model and a dataset, become metrics with intervals."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from lookalike.jobs._embedding import Source

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
}


class Config(Source):
    """The keys of `lookalike evaluate`; their defaults are in conf/evaluate.yaml."""

    split: str | list[str] | None = Field(
        description="split to evaluate; null takes test of a dataset, and everything of embeddings"
    )
    out: Path = Field(description="evaluation folder to write; one that exists is refused")
    ks: list[Annotated[int, Field(ge=1)]] = Field(
        min_length=1, description="the k of recall@k and precision@k"
    )
    far: Annotated[float, Field(ge=0, lt=1)] = Field(
        description="share of different pairs that the threshold may accept"
    )
    coarse_far: bool = Field(description="allow a far below 1 / number of different pairs")
    intervals: bool = Field(description="give 95 % intervals, by bootstrap over identities")
    seed: int = Field(ge=0, description="same seed, same intervals")
    protocol: dict[str, Any] = Field(description="who looks for whom")


def main(config: Config) -> Path:
    """Evaluate, show the metrics, and return the evaluation folder."""
    from lookalike.config import build
    from lookalike.errors import DataError
    from lookalike.evaluation import evaluate
    from lookalike.files import refuse_existing
    from lookalike.jobs._embedding import vectors_of

    refuse_existing(config.out)
    protocol = build(config.protocol, "protocol")
    default = ["test"] if config.embeddings is None else None
    split = [config.split] if isinstance(config.split, str) else config.split or default
    embeddings = vectors_of(config, split)
    try:
        found = evaluate(
            embeddings.vectors,
            embeddings.table.labels,
            ks=config.ks,
            far=config.far,
            coarse_far=config.coarse_far,
            intervals=config.intervals,
            seed=config.seed,
            protocol=protocol,
            progress=config.progress,
        )
    except ValueError as error:
        raise DataError(str(error)) from error
    write(config.out, found, embeddings, {"job": "evaluate", **config.model_dump(mode="json")})
    _show(found, len(embeddings.skipped))
    return config.out


def write(folder: Path, found: "Evaluation", embeddings: "Embeddings", about: dict[str, Any]) -> None:
    """An evaluation folder: metrics.json, per_query.parquet, distances.json, config.yaml and embeddings/.

    Raises:
        LookalikeError: `folder` exists.
    """
    import yaml

    from lookalike.files import new_folder, write_text

    paths = embeddings.table.relative_to(folder).frame["path"]
    with new_folder(folder) as beside:
        metrics = json.dumps(found.summary(len(embeddings.skipped)), indent=2)
        write_text(beside / "metrics.json", metrics + "\n")
        write_text(beside / "distances.json", json.dumps(found.distances) + "\n")
        write_text(beside / "config.yaml", yaml.safe_dump(about, sort_keys=False, allow_unicode=True))
        found.per_query.insert_column(1, paths).write_parquet(beside / "per_query.parquet")
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
    for note in [f"{found.queries} queries, protocol {found.protocol}", *found.notes, *unread]:
        console.print(note, markup=False, highlight=False, emoji=False)


def _meaning(name: str) -> str:
    if name in MEANINGS:
        return MEANINGS[name]
    for start, words in MEANINGS.items():
        if start[-1] in "@=" and name.startswith(start):
            return words.format(name.removeprefix(start))
    return ""
