"""One record per metric: name, limits, direction and meaning. All code that needs one reads it here."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Direction = Literal["higher", "lower", "neither"]
BEFORE = "before_"
"""Prefix of a metric before PCA, expansion or re-ranking; its record is that of the metric."""


@dataclass(frozen=True)
class Record:
    """What is known of a metric whatever its value is.

    Attributes:
        name: as in metrics.json; `@k` stands for any k, `@far=F` for any false accept rate.
        direction: which values are better; `neither` for thresholds, counts and the like.
        low: the least possible value.
        high: the greatest possible value.
        meaning: one line; {} stands for k or the rate.
        tested: whether two models can be compared by it. Cluster scores also vary with the start of k-means.
    """

    name: str
    direction: Direction
    low: float
    high: float
    meaning: str
    tested: bool = True


def _share(name: str, meaning: str, direction: Direction = "higher", tested: bool = True) -> Record:
    return Record(name, direction, 0.0, 1.0, meaning, tested)


def _threshold(name: str, meaning: str, high: float = 1.0) -> Record:
    return Record(name, "neither", -1.0, high, meaning, tested=False)


def _of_pairs(kind: str, pairs: str) -> list[Record]:
    """Mean and standard deviation of similarity and Euclidean distance over one kind of pairs."""
    positive = kind == "positive"
    records = []
    for unit, words, limits, higher in (
        ("similarity", "cosine similarity", (-1.0, 1.0), positive),
        ("euclidean", "Euclidean distance", (0.0, 2.0), not positive),
    ):
        name, meaning = f"{kind}_{unit}", f"{words} of {pairs} pairs"
        deviation = f"{meaning}, standard deviation"
        records += [
            Record(f"{name}_mean", "higher" if higher else "lower", *limits, f"{meaning}, mean"),
            Record(f"{name}_std", "neither", 0.0, 2.0, deviation, tested=False),
        ]
    return records


RECORDS: tuple[Record, ...] = (
    _share("recall@k", "one of the nearest {} shows the same"),
    _share("precision@k", "share of the nearest {} that show the same"),
    _share("map@r", "how well all images of the same come first, cut at their number"),
    _share("r_precision", "share that show the same, of as many as there are"),
    _share("map", "average precision over all images of the same"),
    _share("map@k", "precision at the right ones among the nearest {}, over as many as could be"),
    _share("ndcg@k", "discounted gain of the nearest {}, of the best possible"),
    Record("hits@k", "higher", 0.0, math.inf, "how many of the nearest {} show the same"),
    _share("mrr", "1 / position of the first one that shows the same"),
    _share("minp", "how early the last one that shows the same comes"),
    _share("knn@k", "the vote of the nearest {} is right"),
    _share("knn_top5@k", "one of the first five of that vote is right"),
    _share("gap", "average precision of all first hits sorted together"),
    _share("dir@far=F", "known queries found when {} of unknown ones are, too"),
    Record(
        "hubness_skewness",
        "lower",
        -math.inf,
        math.inf,
        "0: all images are found alike; high: few are found by many",
        tested=False,
    ),
    _share("anti_hubs", "share of images that nothing finds", "lower", tested=False),
    _share("auc", "a same pair is more similar than a different one"),
    _share("eer", "as many different pairs accepted as same pairs refused", "lower"),
    _share("tar@far=F", "same pairs accepted when {} of different pairs are"),
    _share("fnmr@far=F", "same pairs refused when {} of different pairs are accepted", "lower"),
    _threshold("threshold@far=F", "accept when the cosine similarity is at least this"),
    _share("accuracy", "pairs decided rightly at the threshold of the first false accept rate"),
    _share("balanced_accuracy", "the same, with as many same as different pairs"),
    _share("pair_accuracy@far=F", "pairs decided rightly when {} of different pairs are accepted"),
    _share("pair_precision@far=F", "share of same pairs among the accepted ones at this rate"),
    _share("pair_recall@far=F", "same pairs accepted at this rate"),
    _share("pair_f1@far=F", "harmonic mean of precision and recall of pairs at this rate"),
    _share("best_accuracy", "pairs decided rightly at the threshold that is best on these very pairs"),
    _share("best_f1", "F1 of pairs at the threshold that is best on these very pairs"),
    _threshold("best_accuracy_threshold", "threshold with the best accuracy on these very pairs", high=2.0),
    _threshold("best_f1_threshold", "threshold with the best F1 on these very pairs", high=2.0),
    _share("fold_accuracy", "pairs decided rightly at the threshold of the other folds"),
    Record("fold_accuracy_std", "neither", 0.0, 1.0, "the same, standard deviation over the folds", False),
    Record("fold_accuracy_error", "neither", 0.0, 1.0, "the same, standard error of the mean", False),
    Record("fold_threshold", "neither", -2.0, 2.0, "mean of the thresholds of the other folds", False),
    *_of_pairs("positive", "same"),
    *_of_pairs("negative", "different"),
    _threshold("operating_threshold", "the model's own threshold, chosen on validation identities"),
    _share("operating_far", "different pairs that it accepts here", "lower"),
    _share("operating_tar", "same pairs that it accepts here"),
    _share("nmi", "agreement of clusters and identities", tested=False),
    Record("ami", "higher", -1.0, 1.0, "the same, less what chance gives", tested=False),
    Record("ari", "higher", -1.0, 1.0, "pairs put together or apart rightly, less chance", tested=False),
    Record("clusters", "neither", 1.0, math.inf, "how many clusters there were", tested=False),
    Record("effective_rank", "neither", 1.0, math.inf, "dimensions that the vectors fill", tested=False),
    Record("alignment", "lower", 0.0, 4.0, "mean squared distance of same pairs"),
    Record("uniformity", "lower", -math.inf, 0.0, "how evenly vectors are spread"),
    Record("loss", "lower", -math.inf, math.inf, "loss on the validation identities", tested=False),
)

_BY_NAME = {record.name: record for record in RECORDS}


def record_of(name: str) -> Record | None:
    """The record of a metric as metrics.json names it, such as `recall@5`; None for another metric."""
    return _BY_NAME.get(general_name(name.removeprefix(BEFORE)))


def general_name(name: str) -> str:
    """`recall@k` for recall@5, `tar@far=F` for tar@far=0.001."""
    return re.sub(r"@far=.+$", "@far=F", re.sub(r"@\d+$", "@k", name))


def direction_of(name: str) -> Direction:
    """Which values are better; `neither` for a metric without a record."""
    record = record_of(name)
    return "neither" if record is None else record.direction


def sign_of(name: str) -> int:
    """What a value is multiplied by so that higher is better; 0 where no value is better than another."""
    return {"higher": 1, "lower": -1, "neither": 0}[direction_of(name)]


def limits_of(name: str) -> tuple[float, float]:
    """The least and the greatest possible value; infinite for a metric without a record."""
    record = record_of(name)
    return (-math.inf, math.inf) if record is None else (record.low, record.high)


def is_share(name: str) -> bool:
    """Whether every value is from 0 to 1."""
    return limits_of(name) == (0.0, 1.0)


def meaning_of(name: str) -> str:
    """One line on what the metric is, with its k or rate; says so where lower values are better."""
    record = record_of(name)
    if record is None:
        return ""
    argument = name.rpartition("@")[2].removeprefix("far=")
    lower = "; lower is better" if record.direction == "lower" else ""
    words = record.meaning.format(argument) + lower
    if argument == "1":
        words = words.replace("one of the nearest 1 ", "the nearest one ")
        words = words.replace("the nearest 1 that show ", "the nearest one that shows ")
        words = words.replace("the nearest 1 show ", "the nearest one shows ").replace(
            "nearest 1", "nearest one"
        )
    return words


def rankable(names: Sequence[str]) -> list[str]:
    """Those of which some values are better than others."""
    return [name for name in names if sign_of(name)]


def rate_name(far: float) -> str:
    """A rate as it stands in names: the shortest text that is this very number, so that no two share one."""
    short = f"{far:g}"
    return short if float(short) == far else repr(float(far))
