"""The job `plot`: vectors, an evaluation or a run become one figure."""

import logging
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from lookalike.cli._embedding import Source
from lookalike.errors import ConfigError

log = logging.getLogger(__name__)
FORMATS = (".png", ".svg", ".pdf")


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


def main(config: Config) -> Path:
    """Draw, and return the file."""
    from lookalike.cli._plot_keys import refuse_unused
    from lookalike.cli._plotting import OFFERS, Inputs, required_inputs
    from lookalike.config import build
    from lookalike.plots.text import name_source

    if config.out.suffix.lower() not in FORMATS or config.out.is_dir():
        raise ConfigError(f"out={config.out}: a plot is a file that ends in {', '.join(FORMATS)}")
    inputs = Inputs(config)
    names = required_inputs(config.plot)
    refuse_unused(config, names)
    figure = build(config.plot, "plot", **{name: OFFERS[name](inputs) for name in names})
    if str(config.plot["_target_"]).startswith("lookalike.plots."):  # a plot of one's own is left as it is
        name_source(figure, inputs.source(names))
    inputs.report_problems()
    write_figure(figure, config.out, config.dpi)
    return config.out


def write_figure(figure: Any, out: Path, dpi: int) -> None:
    """Save a figure as a whole; the same figure gives the same file.

    Raises:
        ConfigError: the plot gave something that is not a figure.
    """
    import matplotlib
    from matplotlib.figure import Figure

    from lookalike.files import replace_file
    from lookalike.plots.letters import is_legible

    if not isinstance(figure, Figure):
        raise ConfigError(f"plot: gave {type(figure).__name__}; a plot is a function that gives a Figure")
    kind = out.suffix.lower().removeprefix(".")
    undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind, {})
    out.parent.mkdir(parents=True, exist_ok=True)
    style = {"svg.hashsalt": "lookalike", "svg.fonttype": "none", "pdf.fonttype": 42}
    with matplotlib.rc_context(style), is_legible(figure):
        replace_file(out, lambda temporary: figure.savefig(temporary, format=kind, dpi=dpi, metadata=undated))
