"""What happened in training, a row an epoch, in a CSV that is whole at any moment."""

import csv
import io
import math
from datetime import datetime
from pathlib import Path
from typing import Any

from torch import Tensor

from lookalike.files import write_text

Row = dict[str, float | int | str]


class History:
    """Rows of one training run; `add` also rewrites the file.

    Args:
        file: history.csv of the run folder.
    """

    def __init__(self, file: Path):
        self.file = file
        self.rows: list[Row] = []

    def add(self, row: Row) -> None:
        """Append a row and write them all; a column that a row lacks is empty there."""
        self.rows.append({name: _round_value(value) for name, value in row.items()})
        columns = list(dict.fromkeys(name for row in self.rows for name in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_text(self.file, text.getvalue())


def local_time() -> str:
    """The local time with its distance from UTC: 2026-03-28T14:05:09+01:00."""
    return datetime.now().astimezone().isoformat(timespec="seconds")


def _round_value(value: float | str) -> float | int | str:
    return float(f"{value:.6g}") if isinstance(value, float) else value


class Means:
    """Means over an epoch, each batch counted by its images; a value that is none (NaN) is left out."""

    def __init__(self) -> None:
        self.count = 0
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}

    def add(self, values: dict[str, Tensor], images: int) -> None:
        """Take in one batch's values."""
        self.count += images
        for name, value in values.items():
            number = float(value)
            is_number = not math.isnan(number)
            self._sums[name] = self._sums.get(name, 0.0) + (number * images if is_number else 0.0)
            self._counts[name] = self._counts.get(name, 0) + (images if is_number else 0)

    def mean_of(self, name: str) -> float:
        """The mean so far; NaN before the first batch."""
        return self._sums[name] / self._counts[name] if self._counts.get(name) else float("nan")

    def clear(self) -> None:
        """Begin a new epoch."""
        self.count, self._sums, self._counts = 0, {}, {}

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers."""
        return {"count": self.count, "sums": self._sums, "counts": self._counts}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.count, self._sums, self._counts = state["count"], state["sums"], state["counts"]

    def all_means(self) -> Row:
        """Every mean."""
        return {name: self.mean_of(name) for name in self._sums}
