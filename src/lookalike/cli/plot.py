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

    out: Path = Field(description="file to write: .png, .svg or .pdf; one that exists is replaced")
    embeddings: Path | None = Field(
        description="embeddings folder, or file of vectors; or give model and dataset, evaluation, or run"
    )
    split: str | list[str] | None = Field(
        description="split to draw; null takes test of a dataset, and everything of embeddings"
    )
    evaluation: Path | None = Field(description="evaluation folder")
    run: Path | None = Field(description="run folder, for its curves, its model and its evaluation")
    runs: list[Path] = Field(
        description="evaluation folders, or run folders that were evaluated, to compare: [eval/a,eval/b]"
    )
    reference: Path | None = Field(
        description="embeddings folder of references, for the confusion matrix; null: the images themselves"
    )
    images: list[Path] = Field(description="two photos, for what makes them look alike: [a.jpg,b.jpg]")
    by: str = Field(description="column of the table whose values are the classes: label, camera, …")
    metric: str = Field(description="what to compare runs by: a metric that every query has")
    force: bool = Field(description="draw runs of different protocols or images in one figure all the same")
    threshold: float | None = Field(
        description="similarity from which on two images are the same; null takes the evaluation's"
    )
    seed: int = Field(ge=0, description="of intervals; a plot that draws lots has a seed of its own")
    dpi: Annotated[int, Field(ge=36, le=1200)] = Field(
        description="dots an inch of a PNG, and of pictures in SVG and PDF"
    )
    plot: dict[str, Any] = Field(description="what to draw")


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
