"""Metrics for readers: name, interval, and meaning in one sentence."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lookalike.metrics.records import BEFORE, is_share, meaning_of, record_of

HEADLINES = (r"recall@1", r"map@r", r"tar@far=.*", r"auc")
UNIT = " %"
PAIRS = re.compile(r"(positive|negative)_(similarity|euclidean)_(mean|std)")


@dataclass(frozen=True)
class Number:
    """One metric, formatted."""

    key: str
    name: str
    value: float
    low: float
    high: float
    share: bool
    meaning: str

    @property
    def text(self) -> str:
        """The value: 61.3 % or 0.597; a dash if there is none."""
        return format_value(self.value, self.share)

    @property
    def interval(self) -> str:
        """60.2 – 62.4 %; empty without an interval."""
        if not self.sure:
            return ""
        digits = digits_of(self.low, self.high) if self.share else None
        low, high = (format_value(end, self.share, digits) for end in (self.low, self.high))
        return f"{low.removesuffix(UNIT)} – {high}"

    @property
    def start(self) -> str:
        """Start of the mark on a bar from 0 to 1: the lower end of the interval, or the value."""
        return position_percent(self.low if self.sure else self.value)

    @property
    def end(self) -> str:
        """End of the mark."""
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
    record = record_of(key)
    if record is None:
        return Number(key, key, value, low, high, False, "")
    argument = key.rpartition("@")[2]
    k_or_rate = percent(argument.partition("=")[2]) if "=" in argument else argument
    sentence = record.sentence_at_1 if argument == "1" and record.sentence_at_1 else record.sentence
    meaning = sentence.format(k_or_rate, of_100=hundredths(value)) if sentence else _as_sentence(key)
    name = record.title.format(k_or_rate) if record.title else key.removeprefix(BEFORE)
    if key.startswith(BEFORE):
        name, meaning = f"{name}, before", "The same before PCA, expansion or re-ranking."
    if not math.isfinite(value):
        meaning = "No data to compute it."
    share = is_share(key) if record.percent is None else record.percent
    return Number(key, name, value, low, high, share, meaning)


def _as_sentence(key: str) -> str:
    meaning = meaning_of(key)
    return f"{meaning[:1].upper()}{meaning[1:]}."


def headline_numbers(numbers: list[Number]) -> list[Number]:
    """The headline numbers, at most four."""
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
    """A float; NaN for anything else."""
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
    """The percentage, with the same digits as the share itself."""
    return format_value(share, True).removesuffix(UNIT)


def bound(text: str) -> str:
    """The text with every number on the same line as its unit."""
    return re.sub(r"(?<=\d) %", "\N{NO-BREAK SPACE}%", text)


def percent(text: str) -> str:
    """`0.001` as 0.1 %; other text as it is."""
    value = as_float(text)
    return f"{100 * value:.3g}{UNIT}" if math.isfinite(value) else text
