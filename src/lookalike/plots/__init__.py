"""Plots: data in, matplotlib `Figure` or picture out. Nothing here touches pyplot or its global state."""

import sys
from typing import Any


def _show_in_notebooks() -> None:
    """Let a notebook show our figures as pictures, which it does by itself only once pyplot was imported."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    if shell is not None:
        shell.display_formatter.formatters["image/png"].for_type_by_name("matplotlib.figure", "Figure", _png)


def _png(figure: Any) -> bytes:
    import io

    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


_show_in_notebooks()
