"""A comparison of evaluations: verdict, table and files."""

from dataclasses import dataclass, field

import polars as pl

from lookalike.metrics.paired_tests import Difference, swap_models
from lookalike.report.read import Evaluation


@dataclass(frozen=True)
class Comparison:
    """Evaluations, or recipes of several seeds, best first, and their pairwise tests.

    Attributes:
        names: of the evaluations, or of their recipes, without the folders that all of them share.
        evaluations: the compared ones; for a recipe with several seeds, that of the first seed.
        tables: one per evaluation: row, label and metrics of the compared queries, in the same order; none
            if an evaluation has no queries.
        metrics: the compared ones; the first one determines the order.
        values: metric to one `value`, `low`, `high` for each evaluation, if there are any.
        differences: metric to the test of each pair of evaluations, by their indices in `names`.
        queries: number compared by the first metric; 0 if it is not a per-query metric.
        identities: number of identities.
        notes: differences that were ignored because of `force`.
        runs: the runs of each name: several if they differ only in their seed.
    """

    names: list[str]
    evaluations: list[Evaluation]
    tables: list[pl.DataFrame]
    metrics: list[str]
    values: dict[str, list[dict[str, float]]]
    differences: dict[str, list[Difference]]
    queries: int
    identities: int
    notes: list[str]
    runs: list[list[str]] = field(default_factory=list)

    @property
    def by_recipe(self) -> bool:
        """Whether runs that differ only in their seed were grouped."""
        return any(len(runs) > 1 for runs in self.runs)

    def test_against(self, metric: str, index: int, other: int = 0) -> Difference | None:
        """The evaluation at `index` tested against the one at `other`; None for itself."""
        for difference in self.differences[metric]:
            if (difference.first, difference.second) == (other, index):
                return difference
            if (difference.first, difference.second) == (index, other):
                return swap_models(difference)
        return None

    @property
    def level(self) -> float:
        """Confidence level of the verdicts."""
        return self.differences[self.metrics[0]][0].level

    def leaders(self, metric: str) -> list[int]:
        """Indices of those that no other one beats."""
        beaten = {
            test.first if test.verdict == "better" else test.second
            for test in self.differences[metric]
            if test.verdict in ("better", "worse")
        }
        return [index for index in range(len(self.names)) if index not in beaten]

    def to_frame(self) -> pl.DataFrame:
        """One row per evaluation, best first, with value, low and high of each metric and the verdict."""
        return as_frame(self)

    def __str__(self) -> str:
        """The table, the verdict, and their basis."""
        return as_markdown(self).rstrip()

    __repr__ = __str__


def summary_sentence(comparison: Comparison, metric: str, first: int, second: int) -> str:
    """One sentence on two evaluations: `b is better than a: map@r +0.034 [+0.021, +0.047], p < 0.001`."""
    test = comparison.test_against(metric, second, first)
    if test is None:
        return ""
    first_name, other = comparison.names[first], comparison.names[second]
    numbers = f"{metric} {format_difference(test)}, p {chance_text(test.p)}{_seeds_text(comparison)}"
    if test.verdict == "cannot tell":
        return f"cannot tell {other} from {first_name} at {100 * test.level:g} %: {numbers}"
    if not test.sign:
        return f"{metric} of {other} is {test.verdict} than that of {first_name}: {numbers}"
    return f"{other} is {test.verdict} than {first_name}: {numbers}"


def _seeds_text(comparison: Comparison) -> str:
    """`, over 3 and 5 seeds`; empty if runs are not grouped."""
    if not comparison.by_recipe:
        return ""
    counts = [str(len(runs)) for runs in comparison.runs]
    same = len(set(counts)) == 1
    return f", over {counts[0]} seeds each" if same else f", over {' and '.join(counts)} seeds"


def conclusion(comparison: Comparison) -> str:
    """The verdict on the first metric, in one sentence."""
    metric = comparison.metrics[0]
    leaders, sure = comparison.leaders(metric), f"at {100 * comparison.level:g} %"
    if len(comparison.names) == 2:
        return summary_sentence(comparison, metric, 1, 0)
    if leaders == [0]:
        return f"{comparison.names[0]} is better than every other one ({metric}, {sure})"
    tied = ", ".join(comparison.names[index] for index in leaders)
    return f"cannot tell which is best ({metric}, {sure}); none is better than any of: {tied}"


def verdict(comparison: Comparison, metric: str, index: int) -> str:
    """One evaluation against the one with the highest mean of the first metric."""
    test = comparison.test_against(metric, index)
    return "" if test is None else test.verdict


def format_difference(test: Difference) -> str:
    """+0.034 [+0.021, +0.047]."""
    return f"{test.mean:+z.4f} [{test.low:+z.4f}, {test.high:+z.4f}]"


def chance_text(p: float) -> str:
    """A p value as text: `< 0.001`, `= 0.414`."""
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"


def as_frame(comparison: Comparison) -> pl.DataFrame:
    """One row per evaluation, best first: value, low, high of each metric, and the test against the first."""
    columns: dict[str, list[object]] = {"run": list(comparison.names)}
    if comparison.by_recipe:
        columns["seeds"] = [len(runs) for runs in comparison.runs]
    for metric in comparison.metrics:
        tests = [comparison.test_against(metric, index) for index in range(len(comparison.names))]
        for name in ("value", "low", "high", *(["sd"] if comparison.by_recipe else [])):
            column = metric if name == "value" else f"{metric}_{name}"
            columns[column] = [value.get(name) for value in comparison.values[metric]]
        columns[f"{metric}_against_first"] = ["" if test is None else test.verdict for test in tests]
    return pl.DataFrame(columns, schema_overrides={"run": pl.String}, strict=False)


def pairs_frame(comparison: Comparison) -> pl.DataFrame:
    """One row per pair of evaluations and metric: the test of `second` against `first`."""
    rows = [
        {
            "metric": metric,
            "first": comparison.names[test.first],
            "second": comparison.names[test.second],
            "difference": test.mean,
            "low": test.low,
            "high": test.high,
            "p": test.p,
            "second_is": test.verdict,
        }
        for metric in comparison.metrics
        for test in comparison.differences[metric]
    ]
    return pl.DataFrame(rows)


def as_markdown(comparison: Comparison) -> str:
    """The table in Markdown, with its basis below."""
    head = [
        "run",
        *(f"{metric} [95 %]" for metric in comparison.metrics),
        f"against the first ({comparison.metrics[0]})",
    ]
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---|" * (len(head) - 1)]
    for index, name in enumerate(comparison.names):
        cells = [value_text(comparison.values[metric][index]) for metric in comparison.metrics]
        test = comparison.test_against(comparison.metrics[0], index)
        verdict_text = "" if test is None else f"{test.verdict}: {format_difference(test)}"
        lines.append("| " + " | ".join([name.replace("|", "\\|"), *cells, verdict_text]) + " |")
    return (
        "\n".join(
            [
                *lines,
                "",
                conclusion(comparison) + ".",
                "",
                *(f"- {note}" for note in basis_sentence(comparison)),
            ]
        )
        + "\n"
    )


def basis_sentence(comparison: Comparison) -> list[str]:
    """The basis of the table, and what was ignored."""
    count = len(comparison.differences[comparison.metrics[0]])
    holm = f", p values adjusted for {count} comparisons (Holm)" if count > 1 else ""
    of_queries = (
        f"{comparison.queries} queries of {comparison.identities} identities; paired by query, identities "
        "resampled"
    )
    of_identities = (
        f"{comparison.identities} identities; paired by their contributions to the metric, and resampled"
    )
    test_text = (of_queries if comparison.queries else of_identities) + holm
    return [
        test_text,
        *_recipe_sentences(comparison),
        *(f"NOT THE SAME TEST, compared because of force=true: {note}" for note in comparison.notes),
    ]


def _recipe_sentences(comparison: Comparison) -> list[str]:
    """Which runs were grouped, and the meaning of their numbers."""
    if not comparison.by_recipe:
        return []
    runs = "; ".join(
        f"{name}: {', '.join(members)}"
        for name, members in zip(comparison.names, comparison.runs, strict=True)
        if len(members) > 1
    )
    return [
        f"runs that differ only in their seed are one recipe (group=false compares them one by one): {runs}",
        "± is the standard deviation over seeds, [ ] the interval over identities of the mean over seeds; "
        "intervals of differences include both",
    ]


def value_text(value: dict[str, float]) -> str:
    """0.5450 [0.5320, 0.5580]; of several seeds 0.5450 ± 0.0110 [0.5320, 0.5580]."""
    deviation = f" ± {value['sd']:.4f}" if "sd" in value else ""
    interval = f" [{value['low']:.4f}, {value['high']:.4f}]" if "low" in value else ""
    return f"{value['value']:.4f}{deviation}{interval}"
