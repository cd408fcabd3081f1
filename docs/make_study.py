"""Put the results of benchmarks/study.py on docs/losses.md: the table, the verdicts and a plot.

python docs/make_study.py OUT/study.json
"""

import json
import sys
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

PAGE = Path(__file__).with_name("losses.md")
PLOT = Path(__file__).with_name("losses-study.png")
START, END = "<!-- study: made by docs/make_study.py -->", "<!-- end of study -->"
SHOWN = 10


def plot(summary: dict[str, Any]) -> bool:
    """Draw validation map@r against processor time, means over the sets, for the best methods."""
    curves = {method: curve for method, curve in summary["curves"].items() if len(curve) > 1}
    if not curves:
        return False
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for method, curve in list(curves.items())[:SHOWN]:
        seconds, values = zip(*curve, strict=True)
        axes.plot(seconds, [100 * value for value in values], marker="o", markersize=3, label=method)
    axes.set_xlabel("processor seconds")
    axes.set_ylabel("validation map@r, %")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="lower right")
    figure.savefig(PLOT, dpi=110, metadata={"Software": None})
    return True


def section(summary: dict[str, Any]) -> str:
    """Table, verdicts and plot as Markdown."""
    sizes = ", ".join(
        f"{name} {each['images']:,} images of {each['identities']}" for name, each in summary["sets"].items()
    )
    lines = [
        f"{summary['machine']}; {summary['image_size']} px, {summary['epochs']} epochs, {summary['date']}.",
        f"Test identities, all unseen: {sizes}. Rows are sorted by the mean over the sets.",
        "",
        *summary["table"],
        "",
        *summary["verdicts"],
    ]
    if plot(summary):
        lines += ["", f"![Validation map@r against processor time]({PLOT.name})"]
    return "\n".join(lines)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    text = PAGE.read_text(encoding="utf-8")
    before, after = text.split(START)[0], text.split(END)[1]
    made = section(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    PAGE.write_text(f"{before}{START}\n\n{made}\n\n{END}{after}", encoding="utf-8")
