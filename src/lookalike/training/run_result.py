"""What `lookalike.train` returns."""

from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from lookalike.files import parse_json
from lookalike.model.embedder import EmbeddingModel, load

SHOWN = (
    "status",
    "best_epoch",
    "best_metric",
    "best_score",
    "epochs",
    "train_images",
    "train_classes",
    "minutes",
)


class Run:
    """A run folder: a path that can be given wherever a run or model folder is expected, and what is in it.

    Args:
        folder: the run folder.
        template: a model like the one that was trained; needed where it holds a module of the user's own.
    """

    def __init__(self, folder: Path, template: EmbeddingModel | None = None):
        self.folder, self._template = folder, template

    def __fspath__(self) -> str:
        return str(self.folder)

    def __truediv__(self, name: str) -> Path:
        return self.folder / name

    @cached_property
    def model(self) -> EmbeddingModel:
        """The best model, in eval mode, on the CPU."""
        folder = self.folder / "model"
        return load(folder) if self._template is None else self._template.reload(folder)

    @cached_property
    def history(self) -> pl.DataFrame:
        """A row an epoch: losses, learning rates, validation scores, speed, notes."""
        return pl.read_csv(self.folder / "history.csv", infer_schema_length=None)

    @cached_property
    def result(self) -> dict[str, Any]:
        """How the run ended: summary.json."""
        return parse_json((self.folder / "summary.json").read_text(encoding="utf-8"))

    def __str__(self) -> str:
        lines = [f"  {name:13} {self.result[name]}" for name in SHOWN if self.result.get(name) is not None]
        return "\n".join([f"run {self.folder}", *lines])

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r})"
