"""An evaluation as tables: one on the screen, and one of several evaluations in files."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lookalike.metrics.records import BEFORE, meaning_of
from lookalike.wording import counted

if TYPE_CHECKING:
    from lookalike.evaluation import Evaluation

WIDE = 110


def show(found: "Evaluation", skipped: int) -> None:
    """The metrics as a table, and below it what is left out."""
    from lookalike.console import in_terminal, print_table

    wide = not in_terminal() or shutil.get_terminal_size().columns >= WIDE
    before = {name: value for name, value in found.metrics.items() if name.startswith(BEFORE)}
    earlier, words = ["before"] * bool(before), ["in words"] * wide
    rows = []
    for name in dict.fromkeys(name.removeprefix(BEFORE) for name in found.metrics):
        value, plain = found.metrics.get(name), before.get(BEFORE + name)
        cells = ["", ""] if value is None else [f"{value['value']:.4f}", _interval(value)]
        before_it = [f"{plain['value']:.4f}" if plain else ""] * bool(before)
        rows.append([name, *cells, *before_it, *[meaning_of(name)] * wide])
    print_table(["metric", "value", "95 % interval", *earlier, *words], rows)
    unread = [f"left out, since unreadable: {counted(skipped, 'image')}"] if skipped else []
    queries = f"{counted(found.queries, 'query', 'queries')}, " if found.queries else ""
    print("\n".join([f"{queries}protocol {found.protocol}", *found.notes, *unread]))


def _interval(value: Mapping[str, float]) -> str:
    return f"{value['low']:.4f} to {value['high']:.4f}" if "low" in value else ""


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
    shown = [name for name in names if any("low" in each.metrics.get(name, {}) for each in found.values())]
    shown = shown or names[:8]
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
