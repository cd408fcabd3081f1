"""Lookalike: learn which images show the same thing, prove how well, and look things up."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lookalike.cli.train import train as train
    from lookalike.data.table import Table as Table
    from lookalike.data.table import read_table as read_table
    from lookalike.embeddings import Embeddings as Embeddings
    from lookalike.embeddings import embed as embed
    from lookalike.evaluation.evaluate import evaluate as evaluate
    from lookalike.evaluation.result import Evaluation as Evaluation
    from lookalike.evaluation.verify import verify as verify
    from lookalike.model.embedder import EmbeddingModel as EmbeddingModel
    from lookalike.model.embedder import load as load
    from lookalike.report.comparing import compare as compare
    from lookalike.search.searcher import Searcher as Searcher

_HOMES = {
    "EmbeddingModel": "lookalike.model.embedder",
    "Embeddings": "lookalike.embeddings",
    "Evaluation": "lookalike.evaluation.result",
    "Searcher": "lookalike.search.searcher",
    "Table": "lookalike.data.table",
    "compare": "lookalike.report.comparing",
    "embed": "lookalike.embeddings",
    "evaluate": "lookalike.evaluation.evaluate",
    "load": "lookalike.model.embedder",
    "read_table": "lookalike.data.table",
    "train": "lookalike.cli.train",
    "verify": "lookalike.evaluation.verify",
}

__version__ = "0.1.0"
__all__ = [*_HOMES, "losses", "miners", "samplers"]


def __getattr__(name: str) -> object:
    """Import a public name where it is first used, so that `import lookalike` costs nothing."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name in ("losses", "miners", "samplers"):
        return import_module(f"lookalike.{name}")
    raise AttributeError(f"module 'lookalike' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
