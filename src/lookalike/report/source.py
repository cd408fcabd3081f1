"""The data and model of a figure, in one line."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from lookalike.report.read import Evaluation, Run


def describe_source(dataset: Any = None, split: Any = None, model: Any = None) -> str:
    """`data/emoji, split test · model runs/mine`, as far as these are known.

    Args:
        dataset: a folder or file, or several.
        split: the part of it, or several.
        model: a model folder, or the run folder that contains it.
    """
    data = " + ".join(map(short_path, as_list(dataset)))
    splits = ", ".join(map(str, as_list(split)))
    path = None if model is None else Path(str(model))
    model_text = "" if path is None else short_path(path.parent if path.name == "model" else path)
    parts = [data + f", split {splits}" * bool(data and splits), f"model {model_text}" * bool(model_text)]
    return " · ".join(part for part in parts if part)


def embeddings_source(path: Path, model: Path | None = None) -> str:
    """The source of an embeddings folder; the name of a file of vectors."""
    try:
        config = yaml.safe_load((path / "config.yaml").read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        config = None
    values = config if isinstance(config, Mapping) else {}
    return describe_source(values.get("dataset") or path, values.get("split"), model or values.get("model"))


def evaluation_source(evaluation: Evaluation) -> str:
    """The images and the model that were evaluated."""
    config, embeddings = evaluation.config, evaluation.embeddings
    model = (embeddings.model if embeddings else None) or config.get("model")
    if config.get("dataset"):
        return describe_source(config["dataset"], config.get("split"), model)
    if config.get("embeddings"):
        return embeddings_source(Path(str(config["embeddings"])), model)
    return describe_source(evaluation.folder, model=model)


def run_source(run: Run) -> str:
    """The dataset that was trained on, and the run."""
    return describe_source(run.config.get("dataset"), model=run.folder)


def common_data(evaluations: Iterable[Evaluation]) -> str:
    """The images that several models were evaluated on, if they are the same; the models have names."""
    sources = {
        describe_source(evaluation.config.get("dataset"), evaluation.config.get("split"))
        for evaluation in evaluations
    }
    return sources.pop() if len(sources) == 1 else ""


def short_path(path: Any) -> str:
    """The last two components of a path: enough to recognise it, without the home folder."""
    parts = [part for part in Path(str(path)).parts if part not in ("/", "..", ".")]
    return "/".join(parts[-2:]) or str(path)


def as_list(value: Any) -> list[Any]:
    """One or several values as a list; none of None."""
    return [] if value is None else list(value) if isinstance(value, list | tuple) else [value]
