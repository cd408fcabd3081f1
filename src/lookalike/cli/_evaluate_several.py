"""`evaluate` with several models, datasets or files of vectors: a folder of each, and a table of all."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lookalike.errors import ConfigError

if TYPE_CHECKING:
    from lookalike.cli.evaluate import Config


def evaluate_several(config: "Config") -> Path:
    """Evaluate one by one; write an evaluation folder of each, table.csv and table.md, and a plot for models.

    Raises:
        ConfigError: the keys name several of more than one kind, or none.
    """
    from lookalike.cli.evaluate import run_evaluation, write_evaluation
    from lookalike.evaluation.tables import show_evaluation, show_several, write_table
    from lookalike.files import new_folder
    from lookalike.plots.over_models import save_over_models

    changes = _changes(config)
    of_models = config.run is not None or isinstance(config.model, list)
    evaluations = {}
    with new_folder(config.out) as temporary:
        for name, change in changes.items():
            update = {**change, "each": False, "run": None, "out": temporary / name}
            item_config = config.model_copy(update=update)
            evaluations[name], embeddings, learned = run_evaluation(item_config)
            metadata = {
                "job": "evaluate",
                **item_config.model_dump(mode="json"),
                "out": str(config.out / name),
            }
            write_evaluation(item_config.out, evaluations[name], embeddings, metadata, learned)
            if not of_models:
                print(f"{name}:")
                show_evaluation(evaluations[name], len(embeddings.skipped))
        write_table(temporary, evaluations)
        if of_models:
            values = {name: evaluation.metrics for name, evaluation in evaluations.items()}
            save_over_models(values, temporary / "models.png")
    if of_models:
        show_several(evaluations)
    return config.out


def _changes(config: "Config") -> Mapping[str, dict[str, Any]]:
    """For each evaluation its name, and the keys in which it differs from the others."""
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


def _is_several(config: "Config", key: str) -> bool:
    value = getattr(config, key)
    if key == "model":
        return isinstance(value, list) and bool(value)
    return config.each and not isinstance(config.model, list) and isinstance(value, list) and bool(value)


def _changes_of_epochs(config: "Config", run: Path) -> dict[str, dict[str, Any]]:
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
