"""An interactive map of embeddings, also for correcting a dataset.

`lookalike.explore(…)` calls the function below: see `lookalike/__init__.py`.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from lookalike.embeddings import Embeddings


def explore(
    run: "str | Path | Embeddings",
    *,
    out: str | Path | None = None,
    layout: Literal["tsne", "pca"] = "tsne",
    neighbours: int = 10,
    thumbnail: int = 64,
    single: bool | None = None,
    originals: bool = True,
    seed: int = 0,
    progress: bool = False,
    title: str = "",
) -> Path:
    """Write a map of embeddings for the browser, and return its page.

    Args:
        run: run folder that was evaluated, evaluation, embeddings or index folder; or `Embeddings`.
        out: folder to write; explore/ in the folder that is shown if not given.
        layout: how vectors become positions on the map.
        neighbours: number of nearest images of each image.
        thumbnail: longer side of a picture, pixels.
        single: pictures inside the page, so that it is one file; if not given, up to 10,000 images are.
        originals: show the image files themselves on a click, where the page can reach them.
        seed: of the map.
        progress: show progress bars.
        title: of the page; the name of the folder if not given.

    Raises:
        ConfigError: `seed` with layout="pca", which uses no random numbers; or no `out` for `Embeddings`.
        LookalikeError: the folder is none of these, or contains no vectors.
    """
    from lookalike.errors import ConfigError
    from lookalike.explore.folder import Options, write_explorer
    from lookalike.explore.inputs import read_inputs

    if layout == "pca" and seed:
        raise ConfigError(f"seed={seed}: layout=pca uses no random numbers, so a seed has no effect")
    options = Options(layout, neighbours, thumbnail, single, originals, seed, progress)
    if isinstance(run, str | Path):
        vectors, table, name, further = read_inputs(Path(run))
        return write_explorer(
            vectors, table, Path(out or Path(run, "explore")), title or name, options, further
        )
    if out is None:
        raise ConfigError("explore of embeddings that are not in a folder needs out=, such as explore/mine")
    return write_explorer(run.vectors, run.table, Path(out), title or Path(out).name, options)
