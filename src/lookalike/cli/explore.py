"""The job `explore`: vectors become a map in the browser, from which labels can be corrected."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

    from lookalike.data.table import Table


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
    from lookalike.errors import ConfigError
    from lookalike.explore.folder import Options, write_explorer

    if config.layout == "pca" and config.seed:
        raise ConfigError(f"seed={config.seed}: layout=pca leaves nothing to chance, so a seed does nothing")
    vectors, table, title, further = explorer_inputs(config)
    options = Options(**config.model_dump(include=set(Options.__dataclass_fields__)))
    page = write_explorer(vectors, table, config.out or config.run / "explore", title, options, further)
    if _was_trained_on() if config.open is None else config.open:
        import webbrowser

        webbrowser.open(page.absolute().as_uri())
    return page


def explorer_inputs(config: Config) -> "tuple[np.ndarray, Table, str, dict[str, np.ndarray]]":
    """Vectors, table, title, and per-query numbers of what `run=` names; a run is evaluated if need be.

    Raises:
        LookalikeError: the folder is none of these, or holds no vectors.
    """
    from lookalike.cli.report import find_or_evaluate
    from lookalike.data.vectors import read_vectors
    from lookalike.errors import LookalikeError
    from lookalike.report.read import read_evaluation, read_run, require_existing

    folder = require_existing(config.run, "run")
    path = folder.resolve()
    name = path.parent.name if path.name in ("evaluation", "embeddings") else path.name
    if (folder / "space.json").is_file() or (folder / "index.json").is_file():
        return *read_vectors(folder), name, {}
    is_run = (folder / "model").is_dir()
    if not is_run and not (folder / "metrics.json").is_file():
        raise LookalikeError(f"run={folder}: neither a run nor an evaluation, embeddings or index folder")
    evaluation_folder = (
        find_or_evaluate(read_run(folder), config.device, config.progress) if is_run else folder
    )
    evaluation = read_evaluation(evaluation_folder)
    if evaluation.embeddings is None:
        raise LookalikeError(
            f"{evaluation_folder}: has no embeddings to show; evaluate again, or explore an embeddings folder"
        )
    embeddings = evaluation.embeddings
    return (
        embeddings.vectors,
        embeddings.table,
        name,
        _per_query_columns(evaluation.per_query, len(embeddings.table)),
    )


def _per_query_columns(frame: "pl.DataFrame | None", size: int) -> "dict[str, np.ndarray]":
    """The retrieval metrics of each image that was a query."""
    import numpy as np

    columns = {}
    for name in frame.columns if frame is not None else ():
        if frame is not None and frame.schema[name].is_float():
            columns[name] = np.full(size, np.nan)
            columns[name][frame["row"].to_numpy()] = frame[name].fill_null(np.nan).to_numpy()
    return columns


def _was_trained_on() -> bool:
    """Whether somebody sits before a screen; without one, a browser in text mode would take the terminal."""
    screen = sys.platform != "linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    return screen and sys.stdout.isatty()
