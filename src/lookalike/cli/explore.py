"""The job `explore`: vectors become a map in the browser, from which labels can be corrected."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field


def _single_value(value: Any) -> Any:
    if isinstance(value, list) and len(value) != 1:
        raise ValueError("explore shows one run")
    return value[0] if isinstance(value, list) else value


class Config(BaseModel):
    """The keys of `lookalike explore`; their defaults are in conf/explore.yaml."""

    run: Annotated[Path, BeforeValidator(_single_value)] = Field(
        description="run, evaluation, embeddings or index folder to show; run= may be omitted"
    )
    out: Path | None = Field(
        description="folder to write; null uses explore/ inside the folder being explored"
    )
    layout: Literal["tsne", "pca"] = Field(description="projection of the vectors to two dimensions")
    neighbours: Annotated[int, Field(ge=1, le=50)] = Field(
        description="number of nearest neighbours to store per image"
    )
    thumbnail: Annotated[int, Field(ge=16, le=256)] = Field(
        description="longer side of the embedded images in pixels"
    )
    single: bool | None = Field(
        description="embed the images in the page so that it is a single file; null does so for up to "
        "10,000 images"
    )
    originals: bool = Field(description="open the original image file on a click, if the page can reach it")
    open: bool | None = Field(description="open the page in a browser; null does so if started in a terminal")
    seed: int = Field(ge=0, description="random seed of the map")
    device: str | None = Field(description="device for computing a missing evaluation; null selects the best")
    progress: bool = Field(description="show progress bars")


def main(config: Config) -> Path:
    """Write the explorer's folder, and return its page."""
    from lookalike.explore import explore
    from lookalike.explore.inputs import evaluation_folder, is_run, title_of

    options = config.model_dump(exclude={"run", "open", "device", "out"})
    source = evaluation_folder(config.run)
    if source is None and is_run(config.run):
        from lookalike.cli.report import find_or_evaluate
        from lookalike.report.read import read_run

        source = find_or_evaluate(read_run(config.run), config.device, config.progress)
    out = config.out or config.run / "explore"
    page = explore(source or config.run, out=out, title=title_of(config.run), **options)
    if _has_screen() if config.open is None else config.open:
        import webbrowser

        webbrowser.open(page.absolute().as_uri())
    return page


def _has_screen() -> bool:
    """Whether there is a screen; without one, a text-mode browser would take over the terminal."""
    screen = sys.platform != "linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    return screen and sys.stdout.isatty()
