"""What a comparison says, in words, as a table, and as files."""

import polars as pl

from lookalike.metrics.paired import Difference
from lookalike.report.comparing import Compared


def sentence(found: Compared, metric: str, first: int, second: int) -> str:
    """One line on two evaluations: `eval/b is better than eval/a: map@r +0.034 [+0.021, +0.047], …`."""
    test = found.against(metric, second, first)
    if test is None:
        return ""
    one, other = found.names[first], found.names[second]
    numbers = f"{metric} {signed(test)}, p {chance(test.p)}"
    if test.verdict == "cannot tell":
        return f"cannot tell {other} from {one} at {100 * test.level:g} %: {numbers}"
    if not test.sign:
        return f"{metric} of {other} is {test.verdict} than that of {one}: {numbers}"
    return f"{other} is {test.verdict} than {one}: {numbers}"


def conclusion(found: Compared) -> str:
    """What the whole table says about the first metric."""
    metric = found.metrics[0]
    leaders, sure = found.leaders(metric), f"at {100 * found.level:g} %"
    if len(found.names) == 2:
        return sentence(found, metric, 1, 0)
    if leaders == [0]:
        return f"{found.names[0]} is better than every other one ({metric}, {sure})"
    tied = ", ".join(found.names[place] for place in leaders)
    return f"cannot tell which is best ({metric}, {sure}); nothing here beats any of: {tied}"


def verdict(found: Compared, metric: str, place: int) -> str:
    """One evaluation against the one with the highest mean of the first metric."""
    test = found.against(metric, place)
    return "" if test is None else test.verdict


def signed(test: Difference) -> str:
    """+0.034 [+0.021, +0.047]."""
    return f"{test.mean:+z.4f} [{test.low:+z.4f}, {test.high:+z.4f}]"


def chance(p: float) -> str:
    """What a p value is: `< 0.001`, `= 0.414`."""
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"


def as_frame(found: Compared) -> pl.DataFrame:
    """One line an evaluation, best first: value, low, high of each metric, and the test against the first."""
    columns: dict[str, list[object]] = {"run": list(found.names)}
    for metric in found.metrics:
        tests = [found.against(metric, place) for place in range(len(found.names))]
        for name in ("value", "low", "high"):
            column = metric if name == "value" else f"{metric}_{name}"
            columns[column] = [value.get(name) for value in found.values[metric]]
        columns[f"{metric}_against_first"] = ["" if test is None else test.verdict for test in tests]
    return pl.DataFrame(columns, schema_overrides={"run": pl.String}, strict=False)


def pairs_frame(found: Compared) -> pl.DataFrame:
    """One line for every two evaluations and metric: the test of `second` against `first`."""
    rows = [
        {
            "metric": metric,
            "first": found.names[test.first],
            "second": found.names[test.second],
            "difference": test.mean,
            "low": test.low,
            "high": test.high,
            "p": test.p,
            "second_is": test.verdict,
        }
        for metric in found.metrics
        for test in found.differences[metric]
    ]
    return pl.DataFrame(rows)


def as_markdown(found: Compared) -> str:
    """The table for a page or a pull request, with what it rests on below."""
    head = [
        "run",
        *(f"{metric} [95 %]" for metric in found.metrics),
        f"against the first ({found.metrics[0]})",
    ]
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---|" * (len(head) - 1)]
    for place, name in enumerate(found.names):
        cells = [value_text(found.values[metric][place]) for metric in found.metrics]
        test = found.against(found.metrics[0], place)
        said = "" if test is None else f"{test.verdict}: {signed(test)}"
        lines.append("| " + " | ".join([name.replace("|", "\\|"), *cells, said]) + " |")
    return (
        "\n".join([*lines, "", conclusion(found) + ".", "", *(f"- {note}" for note in basis(found))]) + "\n"
    )


def basis(found: Compared) -> list[str]:
    """What the table rests on, and what was passed over."""
    count = len(found.differences[found.metrics[0]])
    holm = f", p values raised for {count} comparisons (Holm)" if count > 1 else ""
    of_queries = (
        f"{found.queries} queries of {found.identities} identities; paired by query, identities resampled"
    )
    of_identities = f"{found.identities} identities; paired by what each adds to the metric, and resampled"
    what = (of_queries if found.queries else of_identities) + holm
    return [what, *(f"NOT THE SAME TEST, compared because of force=true: {note}" for note in found.notes)]


def value_text(value: dict[str, float]) -> str:
    """0.5450 [0.5320, 0.5580]."""
    interval = f" [{value['low']:.4f}, {value['high']:.4f}]" if "low" in value else ""
    return f"{value['value']:.4f}{interval}"
