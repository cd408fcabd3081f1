"""Figures as files."""

from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from lookalike.errors import ConfigError
from lookalike.files import replace_file
from lookalike.plots.letters import is_legible

FORMATS = (".png", ".svg", ".pdf")


def check_figure_file(out: Path) -> None:
    """Reject a file name that cannot be written to, before the figure is drawn.

    Raises:
        ConfigError: its ending is not that of a figure, or it is a folder.
    """
    if out.suffix.lower() not in FORMATS or out.is_dir():
        raise ConfigError(f"out={out}: the file of a plot must end in {', '.join(FORMATS)}")


def write_figure(figure: Any, out: Path, dpi: int) -> None:
    """Write a figure atomically; the same figure gives the same file.

    Raises:
        ConfigError: it is not a figure.
    """
    if not isinstance(figure, Figure):
        raise ConfigError(
            f"plot: returned {type(figure).__name__}; a plot must be a function that returns a Figure"
        )
    kind = out.suffix.lower().removeprefix(".")
    undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind, {})
    out.parent.mkdir(parents=True, exist_ok=True)
    style = {"svg.hashsalt": "lookalike", "svg.fonttype": "none", "pdf.fonttype": 42}
    with matplotlib.rc_context(style), is_legible(figure):
        replace_file(out, lambda temporary: figure.savefig(temporary, format=kind, dpi=dpi, metadata=undated))
