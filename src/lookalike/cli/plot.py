"""The job `plot`: one figure of vectors, an evaluation or a run."""

from pathlib import Path
from typing import TYPE_CHECKING

from lookalike.cli._plot_keys import Config
from lookalike.errors import ConfigError

if TYPE_CHECKING:
    from lookalike.embeddings import Embeddings
    from lookalike.model.embedder import EmbeddingModel
    from lookalike.report.plot_inputs import PlotInputs
    from lookalike.report.read import Run
    from lookalike.training.first_batch import ShownBatch

__all__ = ["Config", "main"]


def main(config: Config) -> Path:
    """Draw, and return the file."""
    from hydra.utils import get_object

    from lookalike.cli._plot_keys import refuse_unused
    from lookalike.config import build
    from lookalike.plots.saving import check_figure_file, write_figure
    from lookalike.plots.text import name_source
    from lookalike.report.plot_inputs import OFFERS, required_inputs

    check_figure_file(config.out)
    inputs = _plot_inputs(config)
    if "_target_" not in config.plot:
        raise ConfigError("plot: names no _target_, so there is no function to call")
    names = required_inputs(get_object(config.plot["_target_"]), list(config.plot))
    refuse_unused(config, names)
    figure = build(config.plot, "plot", **{name: OFFERS[name](inputs) for name in names})
    if str(config.plot["_target_"]).startswith("lookalike.plots."):  # a plot of one's own is left as it is
        name_source(figure, inputs.source(names))
    inputs.report_problems()
    write_figure(figure, config.out, config.dpi)
    return config.out


def _plot_inputs(config: Config) -> "PlotInputs":
    """What the keys name, read or computed when it is needed."""
    from functools import partial

    from lookalike.report.plot_inputs import PlotInputs, PlotSource

    keys = (
        *("embeddings", "dataset", "split", "model", "evaluation", "run", "runs", "reference", "images"),
        *("by", "metric", "force", "threshold", "seed", "progress"),
    )
    loaders = {
        "load_vectors": partial(_load_vectors, config),
        "load_model": partial(_load_model, config),
        "load_batch": partial(_load_batch, config),
    }
    return PlotInputs(PlotSource(**loaders, **{key: getattr(config, key) for key in keys}))


def _load_vectors(config: Config) -> "Embeddings":
    from lookalike.cli._vector_keys import load_or_compute

    split = [config.split] if isinstance(config.split, str) else config.split
    return load_or_compute(config, split or (["test"] if config.embeddings is None else None))


def _load_model(config: Config, folder: Path) -> "EmbeddingModel":
    from lookalike.machine import choose_device, configure_memory
    from lookalike.model.embedder import load

    configure_memory(config.threads)
    return load(folder, choose_device(config.device))


def _load_batch(config: Config, run: "Run | None", dataset: str | list[str]) -> "ShownBatch":
    """The first batch of a run, or of a dataset with the defaults of `train`."""
    from lookalike.cli import train
    from lookalike.cli._train_settings import stage_settings, train_settings
    from lookalike.config import load
    from lookalike.data.datasets import read_tables
    from lookalike.training.first_batch import load_first_batch

    values = load("train", train.Config, dataset=dataset, out="unused", data_dir=str(config.data_dir))
    if run is not None:
        keys = {key: value for key, value in run.config.items() if key in train.Config.model_fields}
        values = train.Config.model_validate(values.model_dump(mode="json") | keys | {"dataset": dataset})
    tables = read_tables(values.dataset, values.data_dir)
    first_stage = stage_settings(train.stage_configs(values)[0])
    return load_first_batch(tables, train_settings(values), first_stage)
