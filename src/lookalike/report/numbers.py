"""The metrics in words: what each number is, how sure it is, and what it means in one sentence."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

HEADLINES = (r"recall@1", r"map@r", r"tar@far=.*", r"auc")
# Pattern of a key; the metric's name; "share" for what is printed in percent; what it means.
MEANINGS: tuple[tuple[str, str, str, str], ...] = (
    (
        r"recall@1",
        "Recall@1",
        "share",
        "The nearest image is of the right class for {of_100} % of the queries.",
    ),
    (
        r"recall@(\d+)",
        "Recall@{0}",
        "share",
        "For {of_100} % of the queries, at least one of the {0} nearest images is of the right class.",
    ),
    (r"precision@1", "Precision@1", "share", "The same as recall@1: one neighbour is right or it is not."),
    (
        r"precision@(\d+)",
        "Precision@{0}",
        "share",
        "Of the {0} nearest images, {of_100} % are of the right class; small classes cannot reach 100 %.",
    ),
    (
        r"map@r",
        "MAP@R",
        "share",
        "How well the right images are gathered at the top; 100 %: all come before any wrong one.",
    ),
    (
        r"r_precision",
        "R-precision",
        "share",
        "Of as many neighbours as there are right images to find, {of_100} % are right.",
    ),
    (
        r"map|average_precision",
        "Mean average precision",
        "share",
        "Precision at each right image, over the whole ranking, averaged over the queries.",
    ),
    (
        r"auc",
        "AUC",
        "share",
        "A pair of the same class is more alike than a pair of different classes in {of_100} % of the cases.",
    ),
    (
        r"tar@far=(.+)",
        "True accepts at {percent_0} false",
        "share",
        "When {percent_0} of different-class pairs may pass for the same, {of_100} % of the same do.",
    ),
    (
        r"threshold(?:@far=(.+))?",
        "Threshold",
        "plain",
        "Two images at least this alike are called the same.",
    ),
    (
        r"(?:achieved_)?far(?:@.*)?",
        "False accepts",
        "share",
        "Different-class pairs that pass for the same at the threshold.",
    ),
    (
        r"accuracy(?:@.*)?",
        "Accuracy of pairs",
        "share",
        "Pairs decided rightly at the threshold; always high, as nearly all pairs are of different classes.",
    ),
    (
        r"balanced_accuracy(?:@.*)?",
        "Balanced accuracy",
        "share",
        "The same, with same-class and different-class pairs counted alike; guessing gives 50 %.",
    ),
    (
        r"mrr",
        "Mean reciprocal rank",
        "plain",
        "1 / the position of the first right image, averaged: 0.5 is as if it always came second.",
    ),
    (
        r"map@(\d+)",
        "MAP@{0}",
        "share",
        "Precision at the right ones among the {0} nearest, over as many as there could be.",
    ),
    (
        r"gap",
        "Global average precision",
        "share",
        "How well one threshold on all nearest images tells right answers from wrong ones.",
    ),
    (
        r"dir@far=(.+)",
        "Found, at {percent_0} false alarms",
        "share",
        "Known identities found when {percent_0} of unknown ones are taken for somebody.",
    ),
    (
        r"operating_threshold",
        "The model's own threshold",
        "plain",
        "From this similarity on, the model calls two images the same.",
    ),
    (
        r"operating_far",
        "False accepts here",
        "share",
        "Different-class pairs that the model's own threshold accepts on these images.",
    ),
    (
        r"operating_tar",
        "True accepts here",
        "share",
        "Same-class pairs that the model's own threshold accepts on these images.",
    ),
    (
        r"before_(.+)",
        "{0}, before",
        "plain",
        "The same before PCA, expansion or re-ranking.",
    ),
    (
        r"eer",
        "Equal error rate",
        "share",
        "Where as many pairs are wrongly accepted as wrongly refused; lower is better.",
    ),
)
UNIT = " %"
PAIRS = re.compile(r"(positive|negative)_(similarity|euclidean)_(mean|std)")


@dataclass(frozen=True)
class Number:
    """One metric, ready to be read."""

    key: str
    name: str
    value: float
    low: float
    high: float
    share: bool
    meaning: str

    @property
    def text(self) -> str:
        """The value: 61.3 % or 0.597; a dash where there is none."""
        return format_value(self.value, self.share)

    @property
    def interval(self) -> str:
        """60.2 – 62.4 %; empty where no interval was computed."""
        if not self.sure:
            return ""
        digits = digits_of(self.low, self.high) if self.share else None
        low, high = (format_value(end, self.share, digits) for end in (self.low, self.high))
        return f"{low.removesuffix(UNIT)} – {high}"

    @property
    def start(self) -> str:
        """Where the mark on a bar from 0 to 1 begins: the interval's low end, or the value."""
        return position_percent(self.low if self.sure else self.value)

    @property
    def end(self) -> str:
        """Where it ends."""
        return position_percent(self.high if self.sure else self.value)

    @property
    def sure(self) -> bool:
        """Whether there is an interval."""
        return math.isfinite(self.low) and math.isfinite(self.high)


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation of one distance over one kind of pairs."""

    kind: str
    pairs: str
    text: str


def list_numbers(metrics: Mapping[str, Any]) -> list[Number]:
    """Every metric that is a number with a value, in the order of the file; counts are not among them."""
    return [
        number(key, entry)
        for key, entry in metrics.items()
        if isinstance(entry, Mapping) and "value" in entry and not PAIRS.fullmatch(key)
    ]


def number(key: str, entry: Mapping[str, Any]) -> Number:
    """One entry of metrics.json."""
    value, low, high = (as_float(entry.get(name)) for name in ("value", "low", "high"))
    name, share, meaning = key, False, ""
    for pattern, title, kind, sentence in MEANINGS:
        match = re.fullmatch(pattern, key)
        if match:
            groups = [group or "" for group in match.groups()]
            words = {"of_100": hundredths(value), "percent_0": percent(groups[0]) if groups else ""}
            name, share = title.format(*groups, **words), kind == "share"
            meaning = (
                sentence.format(*groups, **words) if math.isfinite(value) else "Nothing to measure it on."
            )
            break
    return Number(key, name, value, low, high, share, meaning)


def headline_numbers(numbers: list[Number]) -> list[Number]:
    """The at most four numbers to show large."""
    selected = (
        next((number for number in numbers if re.fullmatch(pattern, number.key)), None)
        for pattern in HEADLINES
    )
    return [number for number in selected if number] or numbers[:4]


def distance_spreads(metrics: Mapping[str, Any]) -> list[Spread]:
    """Mean ± std of the similarity and the distance of same-class and different-class pairs."""
    spreads = []
    for kind, label in (("similarity", "Cosine similarity"), ("euclidean", "Euclidean distance")):
        for pairs, words in (("positive", "same class"), ("negative", "different class")):
            mean, std = (
                as_float(value_of(metrics, f"{pairs}_{kind}_{statistic}")) for statistic in ("mean", "std")
            )
            if math.isfinite(mean):
                width = f" ± {std:.3f}" if math.isfinite(std) else ""
                spreads.append(Spread(label, words, f"{mean:z.3f}{width}"))
    return spreads


def false_accept_rate(metrics: Mapping[str, Any]) -> float | None:
    """The rate that the threshold was set for, from its key."""
    for key in metrics:
        match = re.fullmatch(r"threshold@far=(.+)", key)
        if match and math.isfinite(as_float(match[1])):
            return float(match[1])
    return None


def value_of(metrics: Mapping[str, Any], key: str) -> Any:
    """The value of a metric, whether it stands under `value` or alone; None without one."""
    entry = metrics.get(key)
    return entry.get("value") if isinstance(entry, Mapping) else entry


def as_float(value: Any) -> float:
    """A float; NaN for what is none."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def position_percent(value: float) -> str:
    """A position from 0 to 1, for the style sheet."""
    return f"{min(max(value, 0.0), 1.0):.4f}" if math.isfinite(value) else "0"


def format_value(value: float, share: bool, digits: int | None = None) -> str:
    """A value as it is printed; of a share as many digits as it needs, if not given."""
    if not math.isfinite(value):
        return "–"
    digits = digits_of(value) if digits is None else digits
    return f"{100 * value:.{digits}f}{UNIT}" if share else f"{value:z.3f}"


def digits_of(*shares: float) -> int:
    """Decimals in per cent: one, or two where one would write 100 % for less."""
    return 2 if any(0.9995 <= share < 1 for share in shares) else 1


def hundredths(share: float) -> str:
    """How many of 100, in the digits in which the share itself is printed."""
    return format_value(share, True).removesuffix(UNIT)


def bound(text: str) -> str:
    """The text with every number on the same line as its unit."""
    return re.sub(r"(?<=\d) %", "\N{NO-BREAK SPACE}%", text)


def percent(text: str) -> str:
    """`0.001` as 0.1 %; other text as it is."""
    value = as_float(text)
    return f"{100 * value:.3g}{UNIT}" if math.isfinite(value) else text
