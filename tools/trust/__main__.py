"""Run rows, write their figures to tools/trust/figures.json, and all figures to docs/trust.md.

`python -m trust` runs all rows with the amounts of a full run; `python -m trust kills=40 images` only these.
`folder=DIR` keeps the photos and models that rows work on for the next call.
"""

import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from trust import archives, disk, fuzzing, holders, images, kills, models, running, supply
from trust.figure import Figure

ROOT = Path(__file__).parents[2]
FIGURES, PAGE = Path(__file__).with_name("figures.json"), ROOT / "docs" / "trust.md"


@dataclass(frozen=True)
class Row:
    """A row of the page.

    Attributes:
        title: what is done.
        measure: called with a folder and an amount.
        amount: of a full run.
        unit: what the amount counts.
    """

    title: str
    measure: Callable[[Path, int], Figure]
    amount: int
    unit: str


ROWS = {
    "kills": Row("SIGKILL at random moments", kills.measure_kills, 200, "kills"),
    "disk": Row(
        "Full disk, read-only folder, no permission, clock set back",
        disk.measure_disks,
        3,
        "full disks a job",
    ),
    "images": Row("Damaged images", images.measure_mutants, 10_000, "mutants"),
    "bombs": Row(
        "Decompression bombs, huge sides, animations, polyglots", images.measure_bombs, 100, "files at most"
    ),
    "archives": Row("Hostile archives", archives.measure_archives, 1_000_000, "entries"),
    "models": Row("Hostile model folders and ONNX files", models.measure_models, 1_000, "files at most"),
    "tables": Row("Hostile tables and patches", archives.measure_tables, 10_000_000, "rows"),
    "forget": Row("Forget an identity", running.measure_forgetting, 400, "photos"),
    "spaces": Row("Vectors of another embedding space", running.measure_spaces, 3, "other models"),
    "fuzzing": Row("Fuzzing of parsers", fuzzing.measure_fuzzing, 600, "seconds each"),
    "holders": Row("Two jobs on one folder, two writers on an index", holders.measure_holders, 4, "pairs"),
    "soak": Row("Memory of training", running.measure_training_memory, 5_000, "steps"),
    "determinism": Row("Determinism on the CPU", running.measure_determinism, 3, "repetitions"),
    "network": Row("No connections, nothing listens", running.measure_network, 100, "jobs at most"),
    "licences": Row("Licences of what is installed", supply.measure_licences, 1, "installation"),
    "advisories": Row("Known vulnerabilities", supply.measure_advisories, 1, "installation"),
    "lowest": Row("Lowest versions of the dependencies", supply.measure_lowest, 1, "installation"),
}


def main(words: list[str]) -> int:
    """Run the rows that are named, or all; returns 1 if one does not pass."""
    kept = next((word.removeprefix("folder=") for word in words if word.startswith("folder=")), "")
    words = [word for word in words if not word.startswith("folder=")]
    amounts = {name: row.amount for name, row in ROWS.items()} if not words else {}
    for word in words:
        name, _, amount = word.partition("=")
        if name not in ROWS or (amount and not amount.isdigit()):
            print(f"{word}: rows are {', '.join(ROWS)}; ROW=AMOUNT sets the amount", file=sys.stderr)
            return 2
        amounts[name] = int(amount or ROWS[name].amount)
    figures = json.loads(FIGURES.read_text(encoding="utf-8")) if FIGURES.exists() else {}
    folder = Path(kept or tempfile.mkdtemp(prefix="trust-"))
    folder.chmod(0o755)
    for name, amount in amounts.items():
        begun = time.monotonic()
        figure = ROWS[name].measure(folder, amount)
        figures[name] = {
            "measured": figure.measured,
            "threshold": figure.threshold,
            "problems": figure.problems[:20],
            "amount": f"{amount:,} of {ROWS[name].amount:,} {ROWS[name].unit}",
            "date": datetime.now().astimezone().date().isoformat(),
            "seconds": round(time.monotonic() - begun),
            "machine": describe_machine(),
        }
        print(
            "pass" if figure.passes else "FAIL",
            name,
            figure.measured,
            *figure.problems,
            sep="\n  ",
            flush=True,
        )
        FIGURES.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        write_page(figures)
    return int(any(figures[name]["problems"] for name in amounts))


def describe_machine() -> str:
    """Processors, system and versions, without names."""
    import torch

    import lookalike

    return (
        f"{os.cpu_count()} cores of {platform.machine()}, {platform.system()}, "
        f"Python {platform.python_version()}, "
        f"PyTorch {torch.__version__.partition('+')[0]}, Lookalike {lookalike.__version__}"
    )


def write_page(figures: dict[str, dict]) -> None:
    """Write the figures between the marks of docs/trust.md."""
    lines = ["| row | result | figure | pass line | scale of this run | date |", "|---|---|---|---|---|---|"]
    for name, row in ROWS.items():
        figure = figures.get(name)
        if figure is None:
            lines.append(f"| {row.title} (`{name}`) | not run | | | 0 of {row.amount:,} {row.unit} | |")
            continue
        is_measured = not figure["measured"].startswith("not measured")
        result = "fail" if figure["problems"] else "pass" if is_measured else "–"
        lines.append(
            f"| {row.title} (`{name}`) | {result} | {figure['measured']} | {figure['threshold']} | "
            f"{figure['amount']}, {figure['seconds']} s | {figure['date']} |"
        )
    machines = sorted({figure["machine"] for figure in figures.values()})
    before, _, rest = PAGE.read_text(encoding="utf-8").partition("<!-- figures -->\n")
    after = rest.partition("<!-- end of figures -->")[2]
    table = "\n".join([*lines, "", *(f"Machine: {machine}." for machine in machines), ""])
    PAGE.write_text(f"{before}<!-- figures -->\n{table}<!-- end of figures -->{after}", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
