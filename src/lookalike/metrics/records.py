"""One record per metric: name, limits, direction and meaning. All code that needs one reads it here."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Direction = Literal["higher", "lower", "neither"]
BEFORE = "before_"
"""Prefix of a metric before PCA, expansion or re-ranking; its record is that of the metric."""


@dataclass(frozen=True)
class Record:
    """What is known of a metric whatever its value is.

    Attributes:
        name: as in metrics.json; `@k` stands for any k, `@far=F` and `@fpir=F` for any rate.
        direction: which values are better; `neither` for thresholds, counts and the like.
        low: the least possible value.
        high: the greatest possible value.
        meaning: one line; {} stands for k or the rate.
        tested: whether two models can be compared by it. Cluster scores also vary with the start of k-means.
        title: as a report calls it; {} stands for k or the rate. The name, if empty.
        sentence: what a report says about a value; {of_100} stands for the value in per cent. The meaning, if
            empty.
        sentence_at_1: the same where k is 1.
        percent: whether a report prints it in per cent; if None, where it can only be from 0 to 1.
        default: whether `evaluate` computes it where no metrics are named.
    """

    name: str
    direction: Direction
    low: float
    high: float
    meaning: str
    tested: bool = True
    title: str = ""
    sentence: str = ""
    sentence_at_1: str = ""
    percent: bool | None = None
    default: bool = False


def _share(
    name: str, meaning: str, direction: Direction = "higher", *, tested: bool = True, **report: Any
) -> Record:
    return Record(name, direction, 0.0, 1.0, meaning, tested, **report)


def _threshold(name: str, meaning: str, high: float = 1.0, **report: Any) -> Record:
    return Record(name, "neither", -1.0, high, meaning, tested=False, **report)


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
            Record(
                f"{name}_mean", "higher" if higher else "lower", *limits, f"{meaning}, mean", default=True
            ),
            Record(f"{name}_std", "neither", 0.0, 2.0, deviation, tested=False, default=True),
        ]
    return records


RECORDS: tuple[Record, ...] = (
    _share(
        "recall@k",
        "one of the nearest {} shows the same",
        title="Recall@{}",
        sentence="For {of_100} % of the queries, at least one of the {} nearest images is of the "
        "right class.",
        sentence_at_1="The nearest image is of the right class for {of_100} % of the queries.",
        default=True,
    ),
    _share(
        "precision@k",
        "share of the nearest {} that show the same",
        title="Precision@{}",
        sentence="Of the {} nearest images, {of_100} % are of the right class; small classes "
        "cannot reach 100 %.",
        sentence_at_1="The same as recall@1: one neighbour is right or it is not.",
        default=True,
    ),
    _share(
        "map@r",
        "how well all images of the same come first, cut at their number",
        title="MAP@R",
        sentence="How well the right images are gathered at the top; 100 %: all come before any wrong one.",
        default=True,
    ),
    _share(
        "r_precision",
        "share that show the same, of as many as there are",
        title="R-precision",
        sentence="Of as many neighbours as there are right images to find, {of_100} % are right.",
        default=True,
    ),
    _share(
        "map",
        "average precision over all images of the same",
        title="Mean average precision",
        sentence="Precision at each right image, over the whole ranking, averaged over the queries.",
        default=True,
    ),
    _share(
        "map@k",
        "precision at the right ones among the nearest {}, over as many as could be",
        title="MAP@{}",
        sentence="Precision at the right ones among the {} nearest, over as many as there could be.",
    ),
    _share("ndcg@k", "discounted gain of the nearest {}, of the best possible"),
    Record("hits@k", "higher", 0.0, math.inf, "how many of the nearest {} show the same"),
    _share(
        "mrr",
        "1 / position of the first one that shows the same",
        title="Mean reciprocal rank",
        sentence="1 / the position of the first right image, averaged: 0.5 is as if it always came second.",
        percent=False,
    ),
    _share("minp", "how early the last one that shows the same comes"),
    _share("knn@k", "the vote of the nearest {} is right"),
    _share("knn_top5@k", "one of the first five of that vote is right"),
    _share(
        "gap",
        "average precision of all first hits sorted together",
        title="Global average precision",
        sentence="How well one threshold on all nearest images tells right answers from wrong ones.",
    ),
    _share(
        "dir@far=F",
        "known queries found when {} of unknown ones are, too",
        title="Found, at {} false alarms",
        sentence="Known identities found when {} of unknown ones are taken for somebody.",
    ),
    _share(
        "tpir@fpir=F",
        "queries identified when {} of strangers are given a name",
        title="Identified, at {} of strangers named",
        sentence="When {} of the strangers are given a name, {of_100} % of the queries get the right one.",
    ),
    _share(
        "text_to_image_recall@k",
        "one of the nearest {} images has the text of the query",
        title="Text to image, recall@{}",
        sentence="For {of_100} % of the texts, at least one of the {} nearest images has this text.",
    ),
    _share(
        "image_to_text_recall@k",
        "the text of the image is among the nearest {} texts",
        title="Image to text, recall@{}",
        sentence="For {of_100} % of the images, their own text is among the {} nearest texts.",
    ),
    Record(
        "hubness_skewness",
        "lower",
        -math.inf,
        math.inf,
        "0: all images are found alike; high: few are found by many",
        tested=False,
    ),
    _share("anti_hubs", "share of images that nothing finds", "lower", tested=False),
    _share(
        "auc",
        "a same pair is more similar than a different one",
        title="AUC",
        sentence="A pair of the same class is more alike than a pair of different classes in "
        "{of_100} % of the cases.",
        default=True,
    ),
    _share(
        "eer",
        "as many different pairs accepted as same pairs refused",
        "lower",
        title="Equal error rate",
        sentence="Where as many pairs are wrongly accepted as wrongly refused; lower is better.",
    ),
    _share(
        "tar@far=F",
        "same pairs accepted when {} of different pairs are",
        title="True accepts at {} false",
        sentence="When {} of different-class pairs may pass for the same, {of_100} % of the same do.",
        default=True,
    ),
    _share("fnmr@far=F", "same pairs refused when {} of different pairs are accepted", "lower"),
    _threshold(
        "threshold@far=F",
        "accept when the cosine similarity is at least this",
        title="Threshold",
        sentence="Two images at least this alike are called the same.",
        default=True,
    ),
    _share(
        "accuracy",
        "pairs decided rightly at the threshold of the first false accept rate",
        title="Accuracy of pairs",
        sentence="Pairs decided rightly at the threshold; always high, as nearly all pairs are of "
        "different classes.",
        default=True,
    ),
    _share(
        "balanced_accuracy",
        "the same, with as many same as different pairs",
        title="Balanced accuracy",
        sentence="The same, with same-class and different-class pairs counted alike; guessing gives 50 %.",
        default=True,
    ),
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
    _threshold(
        "operating_threshold",
        "the model's own threshold, chosen on validation identities",
        title="The model's own threshold",
        sentence="From this similarity on, the model calls two images the same.",
    ),
    _share(
        "operating_far",
        "different pairs that it accepts here",
        "lower",
        title="False accepts here",
        sentence="Different-class pairs that the model's own threshold accepts on these images.",
    ),
    _share(
        "operating_tar",
        "same pairs that it accepts here",
        title="True accepts here",
        sentence="Same-class pairs that the model's own threshold accepts on these images.",
    ),
    _threshold(
        "identification_threshold",
        "from which on identify gives a name in an index of these images",
        title="Threshold of identification",
        sentence="From this similarity on, a photo is given the name of the nearest identity here.",
    ),
    _share(
        "operating_tpir",
        "queries that get the right name at it",
        title="Identified here",
        sentence="{of_100} % of the queries get the right name at the threshold of identification.",
    ),
    _share(
        "operating_fpir",
        "strangers that are given a name at it",
        "lower",
        title="Strangers named here",
        sentence="{of_100} % of the strangers are given a name at the threshold of identification.",
    ),
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
    """`recall@k` for recall@5, `tar@far=F` for tar@far=0.001, `tpir@fpir=F` for tpir@fpir=0.01."""
    return re.sub(r"@(far|fpir)=.+$", r"@\1=F", re.sub(r"@\d+$", "@k", name))


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
    argument = name.rpartition("@")[2].removeprefix("far=").removeprefix("fpir=")
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


def default_names(ks: Sequence[int] = (1, 5, 10), fars: Sequence[float] = (1e-3,)) -> list[str]:
    """Names of the metrics that `evaluate` computes where none are named; the arguments have its defaults."""
    names = []
    for record in RECORDS:
        if record.default and "@k" in record.name:
            names += [record.name.replace("@k", f"@{k}") for k in ks]
        elif record.default and "@far=F" in record.name:
            names += [record.name.replace("@far=F", f"@far={rate_name(far)}") for far in fars]
        elif record.default:
            names.append(record.name)
    return names


def rate_name(far: float) -> str:
    """A rate as it stands in names: the shortest text that is this very number, so that no two share one."""
    short = f"{far:g}"
    return short if float(short) == far else repr(float(far))
