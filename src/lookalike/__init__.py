"""Lookalike: learn which images show the same thing, prove how well, and look things up."""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

# Bound here, so that these names are the functions, not the packages that contain them; both import nothing.
from lookalike.explore import explore as explore
from lookalike.report import report as report
from lookalike.version import __version__ as __version__

if TYPE_CHECKING:
    from lookalike.cli._prepare_api import prepare as prepare
    from lookalike.cli.train_api import train as train
    from lookalike.data.table import Table as Table
    from lookalike.data.table import check_table as check_table
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
    "check_table": "lookalike.data.table",
    "compare": "lookalike.report.comparing",
    "embed": "lookalike.embeddings",
    "evaluate": "lookalike.evaluation.evaluate",
    "load": "lookalike.model.embedder",
    "read_table": "lookalike.data.table",
    "train": "lookalike.cli.train_api",
    "verify": "lookalike.evaluation.verify",
}

_FUNCTIONS = {"prepare": "lookalike.cli._prepare_api"}
"""Functions that share their name with a subpackage, which Python binds to that name when it is imported."""

__all__ = [*_HOMES, *_FUNCTIONS, "explore", "losses", "miners", "plots", "report", "samplers"]


def __getattr__(name: str) -> object:
    """Import a public name where it is first used, so that `import lookalike` costs nothing."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name in ("losses", "miners", "plots", "samplers", *_FUNCTIONS):
        return import_module(f"lookalike.{name}")
    raise AttributeError(f"module 'lookalike' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


class _CallablePackage(ModuleType):
    """A subpackage that is also the function of its name: `lookalike.prepare(…)`."""

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self._function()(*arguments, **named)

    def _function(self) -> Any:
        name = self.__name__.rpartition(".")[2]
        return getattr(import_module(_FUNCTIONS[name]), name)

    @property
    def __signature__(self) -> Any:
        from inspect import signature

        return signature(self._function())


class _Package(ModuleType):
    """A package that makes some of its subpackages callable when they are imported."""

    def __setattr__(self, name: str, value: object) -> None:
        if name in _FUNCTIONS and isinstance(value, ModuleType):
            value.__class__ = _CallablePackage
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
