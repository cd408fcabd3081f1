"""An evaluation as tables: one on the screen, and one of several evaluations in files."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lookalike.metrics.records import BEFORE, meaning_of, sign_of
from lookalike.wording import count_noun

if TYPE_CHECKING:
    from lookalike.evaluation.evaluate import Evaluation

WIDE = 110
HEADLINES = ("recall@1", "map@r", "auc")
MOST_SHOWN = 4


def show_evaluation(evaluation: "Evaluation", skipped: int) -> None:
    """The metrics as a table, and below it what is left out."""
    from lookalike.console import in_terminal, print_table

    wide = not in_terminal() or shutil.get_terminal_size().columns >= WIDE
    before = {name: value for name, value in evaluation.metrics.items() if name.startswith(BEFORE)}
    earlier, words = ["before"] * bool(before), ["in words"] * wide
    rows = []
    for name in dict.fromkeys(name.removeprefix(BEFORE) for name in evaluation.metrics):
        value, plain = evaluation.metrics.get(name), before.get(BEFORE + name)
        cells = ["", ""] if value is None else [f"{value['value']:.4f}", _interval(value)]
        before_it = [f"{plain['value']:.4f}" if plain else ""] * bool(before)
        rows.append([name, *cells, *before_it, *[meaning_of(name)] * wide])
    print_table(["metric", "value", "95 % interval", *earlier, *words], rows)
    unread = [f"left out, since unreadable: {count_noun(skipped, 'image')}"] if skipped else []
    queries = f"{count_noun(evaluation.queries, 'query', 'queries')}, " if evaluation.queries else ""
    print("\n".join([f"{queries}protocol {evaluation.protocol}", *evaluation.notes, *unread]))


def show_several(evaluations: "Mapping[str, Evaluation]") -> None:
    """One line an evaluation: the metrics that come first, and below the table the notes of all."""
    from lookalike.console import print_table

    names = list(dict.fromkeys(name for evaluation in evaluations.values() for name in evaluation.metrics))
    shown = [name for name in names if sign_of(name) and not name.startswith(BEFORE)]
    shown = [name for name in HEADLINES if name in shown] + [n for n in shown if n.startswith("tar@")][:1]
    shown = shown or names[:MOST_SHOWN]
    rows = [
        [name, str(evaluation.queries), *(_cell(evaluation.metrics.get(metric)) for metric in shown)]
        for name, evaluation in evaluations.items()
    ]
    print_table(["name", "queries", *(f"{name} [95 %]" for name in shown)], rows)
    notes = dict.fromkeys(note for evaluation in evaluations.values() for note in evaluation.notes)
    for note in notes:
        of = [name for name, evaluation in evaluations.items() if note in evaluation.notes]
        print(note if len(of) == len(evaluations) else f"{', '.join(of)}: {note}")
    _show_best(evaluations, next((name for name in names if name == "map@r"), shown[0] if shown else ""))


def _show_best(evaluations: "Mapping[str, Evaluation]", metric: str) -> None:
    """The best of several models, with a caution: it was chosen by what it is judged by."""
    values = {name: each.metrics[metric]["value"] for name, each in evaluations.items() if metric in each}
    if sign_of(metric) and len(values) > 1:
        best = max(values, key=lambda name: sign_of(metric) * values[name])
        print(f"best {metric}: {best}; chosen on these very images, so its value is too good for others")


def _interval(value: Mapping[str, float]) -> str:
    return f"{value['low']:.4f} to {value['high']:.4f}" if "low" in value else ""


def write_table(folder: Path, evaluations: "Mapping[str, Evaluation]") -> None:
    """table.csv and table.md: one line an evaluation, every metric with its interval."""
    import polars as pl

    from lookalike.files import write_text

    names = list(dict.fromkeys(name for evaluation in evaluations.values() for name in evaluation.metrics))
    rows = [
        {"name": name, "queries": evaluation.queries, "protocol": evaluation.protocol}
        | {
            f"{metric}{'' if part == 'value' else '_' + part}": evaluation.metrics.get(metric, {}).get(part)
            for metric in names
            for part in ("value", "low", "high")
        }
        for name, evaluation in evaluations.items()
    ]
    frame = pl.DataFrame(rows, infer_schema_length=None)
    frame.select(name for name in frame.columns if frame[name].null_count() < len(frame)).write_csv(
        folder / "table.csv"
    )
    names_with_interval = [
        name
        for name in names
        if any("low" in evaluation.metrics.get(name, {}) for evaluation in evaluations.values())
    ]
    names_with_interval = names_with_interval or names[:8]
    lines = [
        "| | queries | " + " | ".join(names_with_interval) + " |",
        "|---|---|" + "---|" * len(names_with_interval),
    ]
    for name, evaluation in evaluations.items():
        cells = [_cell(evaluation.metrics.get(metric)) for metric in names_with_interval]
        lines.append(f"| {name} | {evaluation.queries} | " + " | ".join(cells) + " |")
    write_text(folder / "table.md", "\n".join(lines) + "\n")


def _cell(value: Mapping[str, float] | None) -> str:
    if value is None:
        return ""
    interval = f" [{value['low']:.3f}, {value['high']:.3f}]" if "low" in value else ""
    return f"{value['value']:.3f}{interval}"
