"""What training has done so far: rows of the history, running means, the best epoch, and uses of images."""

import csv
import io
import math
from collections.abc import Iterable
from dataclasses import asdict, astuple, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import torch
from accelerate import Accelerator
from torch import Tensor

from lookalike.data.table import Table
from lookalike.errors import Problem
from lookalike.files import replace_file, write_text

Row = dict[str, float | int | str]
USES = "image_uses.csv"


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

    def state_dict(self) -> list[Row]:
        """The rows."""
        return self.rows

    def load_state_dict(self, state: list[Row]) -> None:
        """Continue after these rows."""
        self.rows = state


def local_time() -> str:
    """The local time with its offset from UTC: 2026-03-28T14:05:09+01:00."""
    return datetime.now().astimezone().isoformat(timespec="seconds")


def _round_value(value: float | str) -> float | int | str:
    return float(f"{value:.6g}") if isinstance(value, float) else value


class Means:
    """Means over an epoch, each batch weighted by its number of images; NaN is left out."""

    def __init__(self) -> None:
        self.count = 0
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}

    def add(self, values: dict[str, Tensor], images: int) -> None:
        """Add the values of a batch."""
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
        """Start a new epoch."""
        self.count, self._sums, self._counts = 0, {}, {}

    def state_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {"count": self.count, "sums": self._sums, "counts": self._counts}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from such a state."""
        self.count, self._sums, self._counts = state["count"], state["sums"], state["counts"]

    def all_means(self) -> Row:
        """All means so far, by name."""
        return {name: self.mean_of(name) for name in self._sums}


@dataclass
class Result:
    """The best epoch, its score, and the images that could not be read.

    Attributes:
        epochs: number of finished epochs.
        peak_score: the best score of all epochs; the epoch that is kept may be a later one.
        peak_error: its standard error over validation identities.
        peak_epoch: the epoch that had it first.
        improved_epoch: the last epoch whose score was better than all before it.
        equal_epochs: number of epochs with the best score.
    """

    epochs: int = 0
    best_epoch: int = 0
    best_score: float | None = None
    peak_score: float | None = None
    peak_error: float = 0.0
    peak_epoch: int = 0
    improved_epoch: int = 0
    equal_epochs: int = 0
    minutes: float = 0.0
    skipped: dict[str, Problem] = field(default_factory=dict)

    def skip(self, problems: Iterable[Problem]) -> None:
        """Add images that could not be read, each once."""
        self.skipped.update({str(problem): problem for problem in problems})

    def best(self) -> dict[str, Any]:
        """The epoch that is kept, and its score."""
        names = ("best_epoch", "best_score", "peak_score", "peak_error", "peak_epoch")
        names += ("improved_epoch", "equal_epochs")
        return {name: getattr(self, name) for name in names}

    def state_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "skipped": [astuple(problem) for problem in self.skipped.values()]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from such a state."""
        problems = [Problem(*values) for values in state["skipped"]]
        peak = {"peak_score": state["best_score"], "peak_epoch": state["best_epoch"]}  # of older checkpoints
        self.__dict__.update({**peak, **state, "skipped": {}})
        self.skip(problems)


class ImageUsage:
    """Counts of how often the model learned from each image, over the whole run.

    Args:
        images: number of training images.
        accelerator: of the run; the counts of its processes are added.
    """

    def __init__(self, images: int, accelerator: Accelerator):
        self.counts, self.accelerator = torch.zeros(images, dtype=torch.int64), accelerator

    def add(self, rows: Tensor) -> None:
        """Count the rows of a batch of this process, [B]."""
        self.counts.index_add_(0, rows, torch.ones_like(rows))

    def state_dict(self) -> Tensor:
        """Counts of all processes together, [N]; all processes must call this."""
        if self.accelerator.num_processes == 1:
            return self.counts
        return self.accelerator.reduce(self.counts.to(self.accelerator.device), "sum").cpu()

    def load_state_dict(self, state: Tensor) -> None:
        """Continue from such counts, in one process, so that they are counted once."""
        self.counts = state.clone() if self.accelerator.is_main_process else torch.zeros_like(state)


def usage_statistics(counts: Tensor) -> Row:
    """Number of images used; mean and (population) standard deviation of uses over all. As columns."""
    uses = counts.double()
    return {
        "images_used": int((counts > 0).sum()),
        "uses_mean": float(uses.mean()),
        "uses_std": float(uses.std(correction=0)),
    }


def write_uses(folder: Path, table: Table, counts: Tensor) -> None:
    """image_uses.csv: each training image's row, path and uses."""
    frame = pl.DataFrame({"row": range(len(table)), "path": table.frame["path"], "uses": counts.numpy()})
    replace_file(folder / USES, frame.write_csv)
