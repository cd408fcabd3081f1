"""Several data sets or embeddings, evaluated one by one into one folder with one table."""

from pathlib import Path
from typing import TYPE_CHECKING

from lookalike.errors import ConfigError

if TYPE_CHECKING:
    from lookalike.jobs.evaluate import Config


def evaluate_each(config: "Config") -> Path:
    """A folder for each of the list, and table.csv and table.md of all of them.

    Raises:
        ConfigError: there is no list.
    """
    from lookalike.files import new_folder
    from lookalike.jobs._evaluation_table import show, write_table
    from lookalike.jobs.evaluate import evaluated, write

    key = "embeddings" if config.embeddings is not None else "dataset"
    items = getattr(config, key)
    if not isinstance(items, list) or not items:
        raise ConfigError("each=true: takes a list, dataset=[a,b] or embeddings=[a,b]")
    names = _names(items)
    found = {}
    with new_folder(config.out) as beside:
        for name, item in zip(names, items, strict=True):
            one = config.model_copy(update={key: item, "each": False, "out": beside / name})
            found[name], embeddings, learned = evaluated(one)
            about = {"job": "evaluate", **one.model_dump(mode="json"), "out": str(config.out / name)}
            write(one.out, found[name], embeddings, about, learned)
            print(f"{name}:")
            show(found[name], len(embeddings.skipped))
        write_table(beside, found)
    return config.out


def _names(items: list[object]) -> list[str]:
    """Names for folders: the last part of each path, with what is before it where two end alike."""
    paths = [Path(str(item)) for item in items]
    names = [path.stem if path.is_file() else path.name for path in paths]
    if len(set(names)) < len(names):
        names = ["-".join(part for part in path.parts if part not in ("/", "..", ".")) for path in paths]
    if len(set(names)) < len(names):
        raise ConfigError(f"each=true: {', '.join(names)}: one of them is given twice")
    return names
