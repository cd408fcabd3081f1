"""The tables of the loss study: means, differences from the defaults with intervals, and verdicts."""

from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from _common import machine
from lookalike.metrics.paired_tests import Difference, paired_differences
from lookalike.report.recipes import add_seed_variance

BASE, METRICS = "defaults", ("map@r", "recall@1")
Runs = dict[tuple[str, str], list[dict[str, Any]]]


def summarise(runs: list[dict[str, Any]], folder: Path, best: dict[str, Any], quick: bool) -> dict[str, Any]:
    """What the tables show, as plain values.

    Args:
        runs: those on test images.
        folder: has the values of each query, by set, method and seed.
        best: changes that the search chose, by method.
        quick: whether this is the quick study.
    """
    grouped: Runs = defaultdict(list)
    for run in sorted(runs, key=lambda run: run["seed"]):
        grouped[run["set"], run["method"]].append(run)
    sets = list(dict.fromkeys(run["set"] for run in runs))
    rows: dict[str, dict[str, Any]] = defaultdict(dict)
    for name in sets:
        for method, cell in _cells(name, grouped, folder).items():
            rows[method][name] = cell
    complete = [method for method in rows if len(rows[method]) == len(sets)]
    order = sorted(complete, key=lambda method: -np.mean([rows[method][s]["map@r"] for s in sets]))
    summary: dict[str, Any] = {
        "machine": machine(),
        "date": max(run["date"] for run in runs),
        "image_size": runs[0]["image_size"],
        "epochs": max(run["keys"]["epochs"] for run in runs),
        "quick": quick,
        "sets": {name: _identities(grouped[name, BASE][0], folder) for name in sets},
        "rows": {method: rows[method] for method in order},
        "incomplete": sorted(set(rows) - set(complete)),
        "search": {method: changes["variant"] or "as they are" for method, changes in best.items()},
        "curves": {method: _curve(method, sets, grouped) for method in order},
    }
    return {**summary, "table": _table_lines(summary), "verdicts": _verdict_lines(summary)}


def _file(run: dict[str, Any], folder: Path) -> Path:
    return folder / run["queries"]


def _identities(run: dict[str, Any], folder: Path) -> dict[str, int]:
    frame = pl.read_parquet(_file(run, folder))
    return {"images": len(frame), "identities": int(frame["label"].n_unique())}


def _cells(name: str, grouped: Runs, folder: Path) -> dict[str, dict[str, Any]]:
    """Values of every method on a set, and their differences from the defaults."""
    methods = [BASE, *(method for of, method in grouped if of == name and method != BASE)]
    cells = {}
    for method in methods:
        found = grouped[name, method]
        cells[method] = {metric: float(np.mean([run[metric] for run in found])) for metric in METRICS}
        cells[method] |= {
            "spread": float(np.std([run["map@r"] for run in found], ddof=1)) if len(found) > 1 else None,
            "seeds": len(found),
            "seconds": float(np.mean([run["seconds"] for run in found])),
        }
    for metric in METRICS:
        for difference in _differences(methods, name, grouped, folder, metric):
            cells[methods[difference.second]][f"{metric} difference"] = {
                "mean": difference.mean,
                "low": difference.low,
                "high": difference.high,
                "verdict": difference.verdict,
            }
    return cells


def _differences(methods: list[str], name: str, grouped: Runs, folder: Path, metric: str) -> list[Difference]:
    """Each method against the defaults, over identities and seeds; p values are corrected per method pair."""
    columns, labels = [], np.empty(0)
    for method in methods:
        frames = [pl.read_parquet(_file(run, folder)).sort("row") for run in grouped[name, method]]
        columns.append(np.mean([frame[metric].to_numpy() for frame in frames], axis=0))
        labels = frames[0]["label"].to_numpy()
    result = []
    for index, method in enumerate(methods[1:], 1):
        tests = paired_differences(np.stack([columns[0], columns[index]], axis=1), labels)
        values = [[run[metric] for run in grouped[name, each]] for each in (BASE, method)]
        tests = add_seed_variance(tests, values, len(np.unique(labels)))
        result.append(replace(tests[0], second=index))
    return result


def _curve(method: str, sets: list[str], grouped: Runs) -> list[list[float]]:
    """Seconds and validation map@r after each epoch, means over the sets; empty for a peer."""
    found = [grouped[name, method][0] for name in sets]
    found = [run for run in found if run.get("curve") and None not in run["curve"]]
    if not found:
        return []
    length = min(len(run["curve"]) for run in found)
    seconds = np.mean([np.arange(1, length + 1) * run["seconds"] / run["epochs"] for run in found], axis=0)
    values = np.mean([run["curve"][:length] for run in found], axis=0)
    return np.stack([seconds, values], axis=1).round(4).tolist()


def print_tables(summary: dict[str, Any]) -> None:
    """Print the tables as Markdown."""
    print(f"\n{summary['machine']}, {summary['image_size']} px, {summary['date']}\n")
    print("\n".join([*summary["table"], "", *summary["verdicts"]]))
    if summary["incomplete"]:
        print(f"\nNot run on every set: {', '.join(summary['incomplete'])}")


def _table_lines(summary: dict[str, Any]) -> list[str]:
    """One row a method: map@r in per cent on each set, with the difference from the defaults."""
    sets = list(summary["sets"])
    lines = ["| method | " + " | ".join(sets) + " | seconds |", "|" + "---|" * (len(sets) + 2)]
    for method, cells in summary["rows"].items():
        seconds = np.mean([cells[name]["seconds"] for name in sets])
        texts = [_cell(cells[name]) for name in sets]
        lines.append(f"| {method} | " + " | ".join(texts) + f" | {seconds:.0f} |")
    return lines


def _verdict_lines(summary: dict[str, Any]) -> list[str]:
    """For each set, which methods are better or worse than the defaults, and which cannot be told apart."""
    lines = []
    for name in summary["sets"]:
        groups: dict[str, list[str]] = {"better": [], "worse": [], "cannot tell": []}
        for method, cells in summary["rows"].items():
            test = cells[name].get("map@r difference")
            if test is not None:
                groups[test["verdict"]].append(method)
        words = {
            "better": "better than the defaults",
            "worse": "worse",
            "cannot tell": "cannot be told apart",
        }
        texts = [f"{words[verdict]}: {', '.join(found)}" for verdict, found in groups.items() if found]
        lines.append(f"- {name}: {'; '.join(texts)}.")
    return lines


def _cell(cell: dict[str, Any]) -> str:
    text = f"{100 * cell['map@r']:.1f}"
    if cell["spread"] is not None:
        text += f" ± {100 * cell['spread']:.1f}"
    test = cell.get("map@r difference")
    if test is None:
        return text
    return f"{text}; {test['verdict']} [{100 * test['low']:+.1f}, {100 * test['high']:+.1f}]"
