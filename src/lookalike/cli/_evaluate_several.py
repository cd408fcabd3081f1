"""The keys of `evaluate` that name several models, datasets or files of vectors, one evaluation for each."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lookalike.cli._evaluate_keys import Config
from lookalike.errors import ConfigError


def list_changes(config: Config) -> Mapping[str, dict[str, Any]]:
    """For each evaluation its name, and the keys in which it differs from the others.

    Raises:
        ConfigError: the keys name several of more than one kind, or none.
    """
    if config.run is not None:
        return _changes_of_epochs(config, config.run)
    key = next((key for key in ("model", "embeddings", "dataset") if _is_several(config, key)), None)
    if key is None:
        raise ConfigError("each=true: takes a list, dataset=[a,b] or embeddings=[a,b]")
    if key == "model" and (config.each or config.embeddings is not None):
        raise ConfigError(
            "model=[…]: each of these models embeds the same images, so neither each=true nor embeddings= "
            "goes with it; give dataset= and split="
        )
    items = getattr(config, key)
    return {name: {key: item} for name, item in zip(_names(items, key), items, strict=True)}


def _is_several(config: Config, key: str) -> bool:
    value = getattr(config, key)
    if key == "model":
        return isinstance(value, list) and bool(value)
    return config.each and not isinstance(config.model, list) and isinstance(value, list) and bool(value)


def _changes_of_epochs(config: Config, run: Path) -> dict[str, dict[str, Any]]:
    """The model of every epoch of a run; the dataset is that of its training, where none is given."""
    import yaml

    if config.model is not None or config.embeddings is not None or config.each:
        raise ConfigError(
            "run=: evaluates the models of its epochs, so model=, embeddings= and each= do not go with it"
        )
    models = [file.parent for file in (run / "epochs").glob("*/config.json")]
    models.sort(key=lambda model: (int(model.name) if model.name.isdigit() else 0, model.name))
    if not models:
        raise ConfigError(
            f"run={run}: has no epochs/ with models; training writes it with keep_epochs=all. "
            f"To evaluate the best model alone: lookalike evaluate model={run}/model dataset=… out=…"
        )
    dataset = config.dataset
    if dataset is None:
        file = run / "config.yaml"
        dataset = yaml.safe_load(file.read_text(encoding="utf-8")).get("dataset") if file.is_file() else None
    if dataset is None:
        raise ConfigError(f"run={run}: its config.yaml names no dataset; give dataset=FOLDER")
    return {model.name: {"model": model, "dataset": dataset} for model in models}


def _names(items: list[Any], key: str) -> list[str]:
    """Names for folders: the last part of each path, or all of it where two end alike."""
    paths = [Path(str(item)) for item in items]
    names = [path.stem if path.is_file() else path.name for path in paths]
    if key == "model" and set(names) == {"model"}:
        names = [path.parent.name or path.name for path in paths]
    if len(set(names)) < len(names):
        names = ["-".join(part for part in path.parts if part not in ("/", "..", ".")) for path in paths]
    if len(set(names)) < len(names):
        raise ConfigError(f"{key}=[{','.join(map(str, items))}]: one of them is given twice")
    return names
