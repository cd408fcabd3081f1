"""The job `demo`: all jobs after one another on the bundled emoji."""

import logging
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

log = logging.getLogger(__name__)
SAMPLE = Path(__file__).parents[1] / "sample" / "emoji"
SHOWN_METRICS = ("recall@1", "map@r")


CLASSES = 16
"""In a batch: fewer than the default, for machines with little memory."""


class Config(BaseModel):
    """The keys of `lookalike demo`; their defaults are in conf/demo.yaml."""

    out: Path = Field(
        description="folder to write; will contain a dataset, a run, an evaluation and an index"
    )
    epochs: int = Field(ge=1, description="number of epochs")
    image_size: int = Field(ge=32, le=512, description="side length of the square model input in pixels")
    seed: int = Field(ge=0, description="random seed; the same seed reproduces the run")
    progress: bool = Field(description="show progress bars")


def main(config: Config) -> Path:
    """Prepare, train, evaluate on identities never seen, report, index and search; return the folder."""
    from lookalike.data.table import read_table
    from lookalike.files import refuse_existing

    out = config.out
    refuse_existing(out)
    data, run, untrained = out / "data", out / "run", out / "untrained"
    common = {"seed": config.seed, "progress": config.progress}
    size = {"image_size": config.image_size}

    _step("1/6 prepare: the bundled emoji, one class a meaning, drawn by several design teams")
    _run_job("prepare", source="folder", out=data, **{"source.root": str(SAMPLE)}, **common)
    _step("2/6 train on most classes")
    small = {"sampler.classes_per_batch": CLASSES}
    _run_job("train", dataset=data, out=run, epochs=config.epochs, **size, **small, **common)
    _step("3/6 evaluate on classes never seen, before and after training")
    _run_job("train", dataset=data, out=untrained, epochs=0, head="none", val_share=0, **size, **common)
    _run_job("evaluate", model=untrained / "model", dataset=data, out=out / "evaluation_untrained", **common)
    _run_job("evaluate", model=run / "model", dataset=data, out=out / "evaluation", **common)
    _step("4/6 report")
    _run_job("report", run=run, evaluation=out / "evaluation", **common)
    _step("5/6 index the images of the unseen classes")
    _run_job(
        "index", embeddings=out / "evaluation" / "embeddings", out=out / "index", progress=config.progress
    )
    _step("6/6 search one of them")
    photo = _relative_path(read_table(data).split("test").file(0))
    _run_job("search", index=out / "index", image=photo, k=5)
    _log_step(out, photo, config.seed)
    return out


def gain(trained: Path, untrained: Path, metric: str, seed: int) -> tuple[float, float, float]:
    """How much a metric of the same queries rose between two evaluation folders, with its 95 % interval.

    The difference is taken query by query, and identities are resampled.
    """
    import polars as pl

    from lookalike.metrics.bootstrap import bootstrap_interval

    after, before = (pl.read_parquet(folder / "per_query.parquet") for folder in (trained, untrained))
    both = after.join(before, on="path", suffix="_before").drop_nulls([metric, f"{metric}_before"])
    difference = (both[metric] - both[f"{metric}_before"]).to_numpy()
    low, high = bootstrap_interval(difference, both["label"].to_numpy(), seed=seed)
    return float(difference.mean()), float(low), float(high)


def _relative_path(file: Path) -> Path:
    """The path of a file, relative to the current folder if it lies below it."""
    file, current_folder = file.resolve(), Path.cwd()
    return file.relative_to(current_folder) if file.is_relative_to(current_folder) else file


def _run_job(job: str, **values: Any) -> None:
    from lookalike.cli import module
    from lookalike.config import load

    work = module(job)
    keys = work.Config.model_fields
    arguments = {
        name: str(value) if isinstance(value, Path) else value
        for name, value in values.items()
        if name.partition(".")[0] in keys
    }
    work.main(load(job, work.Config, **arguments))


def _step(words: str) -> None:
    from rich.console import Console

    Console(stderr=True).rule(f"[bold]{words}", align="left")


def _log_step(out: Path, photo: Path, seed: int) -> None:
    from rich.console import Console

    console = Console(highlight=False, emoji=False)
    console.rule("[bold]What training gained, on classes never seen", align="left")
    for metric in SHOWN_METRICS:
        rise, low, high = gain(out / "evaluation", out / "evaluation_untrained", metric, seed)
        console.print(
            f"{metric}: {rise:+.3f} over the untrained backbone (95 % interval {low:+.3f} to {high:+.3f})"
        )
    console.rule("[bold]Where to look", align="left")
    console.print(f"the report   {out / 'run' / 'report.html'}  (open it in a browser)", soft_wrap=True)
    console.print(f"the model    {out / 'run' / 'model'}", soft_wrap=True)
    console.print(f"search again lookalike search index={out / 'index'} image={photo}", soft_wrap=True)
