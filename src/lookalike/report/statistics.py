"""The files of `lookalike prepare stats`: numbers, class sizes, a figure, identical files."""

import json
from pathlib import Path

from lookalike.files import refuse_existing, replace_file, write_text
from lookalike.plots.class_size_chart import class_size_figure
from lookalike.plots.letters import is_legible
from lookalike.prepare.statistics import Stats


def write_statistics(folder: Path, name: str, statistics: Stats) -> None:
    """Write stats.json, class_sizes.csv, class_sizes.png, and duplicates.csv if there are any.

    Raises:
        LookalikeError: `folder` contains other files.
    """
    if not (folder / "stats.json").is_file():
        refuse_existing(folder)
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder / "class_sizes.csv", statistics.sizes.write_csv)
    figure = class_size_figure(statistics.sizes["images"].to_numpy(), name)
    with is_legible(figure):
        replace_file(folder / "class_sizes.png", lambda temporary: figure.savefig(temporary, format="png"))
    (folder / "duplicates.csv").unlink(missing_ok=True)
    if statistics.duplicates is not None and len(statistics.duplicates):
        replace_file(folder / "duplicates.csv", statistics.duplicates.write_csv)
    text = json.dumps({"dataset": name, **statistics.numbers}, indent=2, ensure_ascii=False)
    write_text(folder / "stats.json", text + "\n")
