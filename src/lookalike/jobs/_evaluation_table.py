"""An evaluation as tables: one on the screen, and one of several evaluations in files."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lookalike.evaluation import Evaluation

WIDE = 110
BEFORE = "before_"
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


def show(found: "Evaluation", skipped: int) -> None:
    """The metrics as a table, and below it what is left out."""
    from rich.console import Console
    from rich.table import Table

    console = Console(emoji=False)
    wide = console.width >= WIDE
    before = {name: value for name, value in found.metrics.items() if name.startswith(BEFORE)}
    earlier, words = ["before"] * bool(before), ["in words"] * wide
    table = Table("metric", "value", "95 % interval", *earlier, *words)
    for name in dict.fromkeys(name.removeprefix(BEFORE) for name in found.metrics):
        value, plain = found.metrics.get(name), before.get(BEFORE + name)
        cells = ["", ""] if value is None else [f"{value['value']:.4f}", _interval(value)]
        earlier = [f"{plain['value']:.4f}" if plain else ""] * bool(before)
        table.add_row(name, *cells, *earlier, *[_meaning(name)] * wide)
    console.print(table)
    unread = [f"{skipped} images cannot be read and are left out"] if skipped else []
    queries = f"{found.queries} queries, " if found.queries else ""
    for note in [f"{queries}protocol {found.protocol}", *found.notes, *unread]:
        console.print(note, markup=False, highlight=False, emoji=False)


def _interval(value: Mapping[str, float]) -> str:
    return f"{value['low']:.4f} to {value['high']:.4f}" if "low" in value else ""


def _meaning(name: str) -> str:
    if name in MEANINGS:
        return MEANINGS[name]
    for start, words in MEANINGS.items():
        if start[-1] in "@=" and name.startswith(start):
            return words.format(name.removeprefix(start))
    return ""


def write_table(folder: Path, found: "Mapping[str, Evaluation]") -> None:
    """table.csv and table.md: one line an evaluation, every metric with its interval."""
    import polars as pl

    from lookalike.files import write_text

    names = list(dict.fromkeys(name for each in found.values() for name in each.metrics))
    rows = [
        {"name": name, "queries": each.queries, "protocol": each.protocol}
        | {
            f"{metric}{'' if part == 'value' else '_' + part}": each.metrics.get(metric, {}).get(part)
            for metric in names
            for part in ("value", "low", "high")
        }
        for name, each in found.items()
    ]
    frame = pl.DataFrame(rows, infer_schema_length=None)
    frame.select(name for name in frame.columns if frame[name].null_count() < len(frame)).write_csv(
        folder / "table.csv"
    )
    shown = [name for name in names if "low" in next(iter(found.values())).metrics.get(name, {})] or names[:8]
    lines = ["| | queries | " + " | ".join(shown) + " |", "|---|---|" + "---|" * len(shown)]
    for name, each in found.items():
        cells = [_cell(each.metrics.get(metric)) for metric in shown]
        lines.append(f"| {name} | {each.queries} | " + " | ".join(cells) + " |")
    write_text(folder / "table.md", "\n".join(lines) + "\n")


def _cell(value: Mapping[str, float] | None) -> str:
    if value is None:
        return ""
    interval = f" [{value['low']:.3f}, {value['high']:.3f}]" if "low" in value else ""
    return f"{value['value']:.3f}{interval}"
