"""What happened in training, a row an epoch, in a CSV that is whole at any moment."""

import csv
import io
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
        self.rows.append({name: _rounded(value) for name, value in row.items()})
        columns = list(dict.fromkeys(name for each in self.rows for name in each))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_text(self.file, text.getvalue())


def _rounded(value: float | str) -> float | int | str:
    return float(f"{value:.6g}") if isinstance(value, float) else value


class Means:
    """Means over an epoch, each batch counted by its images."""

    def __init__(self) -> None:
        self.count = 0
        self._sums: dict[str, float] = {}

    def add(self, values: dict[str, Tensor], images: int) -> None:
        """Take in one batch's values."""
        self.count += images
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + float(value) * images

    def of(self, name: str) -> float:
        """The mean so far; NaN before the first batch."""
        return self._sums[name] / self.count if name in self._sums else float("nan")

    def clear(self) -> None:
        """Begin a new epoch."""
        self.count, self._sums = 0, {}

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers."""
        return {"count": self.count, "sums": self._sums}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.count, self._sums = state["count"], state["sums"]

    def all(self) -> Row:
        """Every mean."""
        return {name: self.of(name) for name in self._sums}
