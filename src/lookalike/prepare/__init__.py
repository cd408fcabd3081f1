"""From raw files to a checked dataset folder: a module for each kind of source, splits, downloads, patches.

`lookalike.prepare(…)` makes a dataset. The functions below make datasets from datasets.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lookalike.prepare.derived import filter_dataset as filter_dataset
    from lookalike.prepare.derived import merge_datasets as merge_datasets
    from lookalike.prepare.derived import split_dataset as split_dataset
    from lookalike.prepare.sharding import fetch_shards as fetch_shards
    from lookalike.prepare.sharding import pack_shards as pack_shards

_MODULES = {
    "fetch_shards": "lookalike.prepare.sharding",
    "filter_dataset": "lookalike.prepare.derived",
    "merge_datasets": "lookalike.prepare.derived",
    "pack_shards": "lookalike.prepare.sharding",
    "split_dataset": "lookalike.prepare.derived",
}

__all__ = [*_MODULES]


def __getattr__(name: str) -> object:
    """Import a function where it is first used."""
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'lookalike.prepare' has no attribute {name!r}")
