"""The keys of `lookalike plot`, and which of them each plot uses; the others are rejected, not ignored."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from lookalike.cli._vector_keys import Machine, Source
from lookalike.errors import ConfigError

STORED = ("evaluation", "run")
VECTORS = ("embeddings", "model", "dataset", "split", *STORED)
RUNS = ("runs", "seed", "force")
COMPARED = (*RUNS, "metric")
KEYS = {
    "vectors": VECTORS,
    "labels": (*VECTORS, "by"),
    "sizes": (*VECTORS, "by"),
    "pictures": VECTORS,
    "reference_vectors": (*VECTORS, "reference"),
    "reference_labels": (*VECTORS, "reference", "by"),
    "per_query": VECTORS,
    "distances": (*VECTORS, "threshold"),
    "far": (*VECTORS, "threshold"),
    "threshold": (*VECTORS, "threshold"),
    "roc_curves": (*VECTORS, *RUNS),
    "history": ("run",),
    "best_metric": ("run",),
    "best_epoch": ("run",),
    "uses": ("run",),
    "names": COMPARED,
    "values": COMPARED,
    "metric": ("metric",),
    "leaders": COMPARED,
    "remark": COMPARED,
    "model": ("model", "run"),
    "photos": ("images",),
    "batch_images": ("run", "dataset"),
    "batch_labels": ("run", "dataset"),
}
"""The keys that each input of a plot depends on."""


class Config(Source):
    """The keys of `lookalike plot`; their defaults are in conf/plot.yaml."""

    out: Path = Field(description="file to write: .png, .svg or .pdf; an existing file is replaced")
    embeddings: Path | None = Field(
        description="embeddings folder or file of vectors; alternatively set evaluation=, run=, or model="
        " and dataset="
    )
    split: str | list[str] | None = Field(
        description="split to draw; null uses test of a dataset, and all rows of an embeddings folder"
    )
    evaluation: Path | None = Field(description="evaluation folder")
    run: Path | None = Field(description="run folder; provides its curves, model and evaluation")
    runs: list[Path] = Field(
        description="evaluation folders, or run folders that have been evaluated, to compare: [eval/a,eval/b]"
    )
    reference: Path | None = Field(
        description="embeddings folder of the reference images for the confusion matrix; null uses the "
        "images themselves"
    )
    images: list[Path] = Field(description="two photos for plot=saliency: [a.jpg,b.jpg]")
    by: str = Field(description="column of the table that defines the classes: label, camera, …")
    metric: str = Field(description="per-query metric to compare runs by")
    force: bool = Field(description="draw runs in one figure even if their protocols or images differ")
    threshold: float | None = Field(
        description="minimum similarity of images that are considered the same; null uses the threshold "
        "of the evaluation"
    )
    seed: int = Field(
        ge=0, description="random seed of the intervals; plots that sample at random have their own seed"
    )
    dpi: Annotated[int, Field(ge=36, le=1200)] = Field(
        description="resolution in dots per inch of PNG files, and of images in SVG and PDF files"
    )
    plot: dict[str, Any] = Field(description="type of figure")


def refuse_unused(config: Config, inputs: Iterable[str]) -> None:
    """Reject keys that are set, but have no effect on this plot.

    Args:
        config: of the job.
        inputs: names of what the plot takes, from `KEYS`.

    Raises:
        ConfigError: lists these keys, and those that the plot uses.
    """
    from lookalike.config import catalogue

    inputs = list(inputs)
    values, defaults = config.model_dump(mode="json"), catalogue.keys("plot")
    always = {"out", "dpi", *Machine.model_fields}
    used = {key for name in inputs for key in _read(config, name)}
    unused = [key for key, value in defaults.items() if key not in always | used and values[key] != value]
    if not unused:
        return
    name = catalogue.choice_of_target("plot", config.plot)
    possible = {key for each in inputs for key in KEYS[each]}
    instead = _replacement_key(config, possible, unused)
    is_given = {key for key in STORED if getattr(config, key) is not None}
    shown = used - (set(STORED) - is_given) if is_given or config.runs else possible
    plot_keys = [f"plot.{key}" for key in unused if key in config.plot]
    hint = f". Did you mean {' and '.join(plot_keys)}?" if plot_keys else ""
    raise ConfigError(
        f"{', '.join(f'{key}={_short_list(values[key])}' for key in unused)}: "
        f"{f'plot={name}' if name else 'this plot'} makes no use of {'it' if len(unused) == 1 else 'these'}"
        f"{instead}; it uses {', '.join(key for key in defaults if key in shown) or 'no key of what to draw'}"
        f"{hint}"
    )


def _read(config: Config, name: str) -> set[str]:
    """The keys that one input depends on, given the other keys."""
    keys = set(KEYS[name])
    if "runs" in keys:
        return keys - set(VECTORS) if config.runs else keys - {"runs", "force"}
    if name == "threshold" and config.plot.get("which", "closest") != "closest":
        keys -= {"threshold"}
    if name == "model":
        return {"model"} if config.model is not None else keys
    if "split" in keys and (config.evaluation is not None or config.run is not None):
        return keys - (set(VECTORS) - set(STORED))
    return keys


def _replacement_key(config: Config, possible: set[str], unused: list[str]) -> str:
    """The key that takes precedence over those that the plot could use."""
    if not possible & set(unused):
        return ""
    if unused == ["threshold"]:
        return f" with plot.which={config.plot['which']}"
    given_keys = [key for key in ("runs", *STORED, "model") if getattr(config, key) and key not in unused]
    if given_keys:
        return f" with {given_keys[0]}="
    return " without runs=" if "force" in unused else " with what is given"


def _short_list(value: object) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return f"[{','.join(map(str, value))}]" if isinstance(value, list) else text
