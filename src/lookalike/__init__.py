"""Lookalike: learn which images show the same thing, prove how well, and look things up."""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from lookalike.version import __version__ as __version__

if TYPE_CHECKING:
    from lookalike.clean import clean as clean
    from lookalike.cli.prepare_api import prepare as prepare
    from lookalike.cli.serve_api import serve as serve
    from lookalike.cli.train_api import train as train
    from lookalike.cluster import cluster as cluster
    from lookalike.data.table import Table as Table
    from lookalike.data.table import check_table as check_table
    from lookalike.data.table import read_table as read_table
    from lookalike.embeddings import Embeddings as Embeddings
    from lookalike.embeddings import embed as embed
    from lookalike.evaluation.evaluate import evaluate as evaluate
    from lookalike.evaluation.result import Evaluation as Evaluation
    from lookalike.evaluation.verify import verify as verify
    from lookalike.explore import explore as explore
    from lookalike.export.export import export as export
    from lookalike.export.info import info as info
    from lookalike.model.embedder import EmbeddingModel as EmbeddingModel
    from lookalike.model.loading import load as load
    from lookalike.model.text import load_text as load_text
    from lookalike.report import report as report
    from lookalike.report.comparing import compare as compare
    from lookalike.search.index import Index as Index
    from lookalike.search.searcher import Searcher as Searcher
    from lookalike.search.text_query import search_texts as search_texts
    from lookalike.serve.client import Client as Client
    from lookalike.training.text_alignment import align_text as align_text

_NAMES = {
    "Client": "lookalike.serve.client",
    "EmbeddingModel": "lookalike.model.embedder",
    "Embeddings": "lookalike.embeddings",
    "Evaluation": "lookalike.evaluation.result",
    "Index": "lookalike.search.index",
    "Searcher": "lookalike.search.searcher",
    "Table": "lookalike.data.table",
    "align_text": "lookalike.training.text_alignment",
    "check_table": "lookalike.data.table",
    "compare": "lookalike.report.comparing",
    "embed": "lookalike.embeddings",
    "evaluate": "lookalike.evaluation.evaluate",
    "info": "lookalike.export.info",
    "load": "lookalike.model.loading",
    "load_text": "lookalike.model.text",
    "read_table": "lookalike.data.table",
    "search_texts": "lookalike.search.text_query",
    "train": "lookalike.cli.train_api",
    "verify": "lookalike.evaluation.verify",
}
"""Public names, and the modules that define them."""

_CALLABLE_PACKAGES = {
    "clean": "lookalike.clean",
    "cluster": "lookalike.cluster",
    "explore": "lookalike.explore",
    "export": "lookalike.export.export",
    "prepare": "lookalike.cli.prepare_api",
    "report": "lookalike.report",
    "serve": "lookalike.cli.serve_api",
}
"""Subpackages that are also the function of their name, and the modules that define it."""

_MODULES = ("losses", "miners", "plots", "samplers")

__all__ = [*_NAMES, *_CALLABLE_PACKAGES, *_MODULES]


def __getattr__(name: str) -> object:
    """Import a public name where it is first used, so that `import lookalike` costs nothing."""
    if name in _NAMES:
        return getattr(import_module(_NAMES[name]), name)
    if name in _MODULES:
        return import_module(f"lookalike.{name}")
    raise AttributeError(f"module 'lookalike' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


class _CallablePackage(ModuleType):
    """A subpackage that is also a function: `lookalike.prepare(…)` beside `lookalike.prepare.table`."""

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self._function()(*arguments, **named)

    def _function(self) -> Any:
        name = self.__name__.rpartition(".")[2]
        return getattr(import_module(_CALLABLE_PACKAGES[name]), name)

    @property
    def __signature__(self) -> Any:
        from inspect import signature

        return signature(self._function())


for _name in _CALLABLE_PACKAGES:
    import_module(
        f"lookalike.{_name}"
    ).__class__ = _CallablePackage  # these packages import nothing themselves
