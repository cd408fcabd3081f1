"""The report: one run and its evaluation on one page that needs nothing but a browser.

`lookalike.report(…)` calls the function below: see `lookalike/__init__.py`.
"""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lookalike.embeddings import Embeddings
    from lookalike.evaluation.result import Evaluation


def report(
    run: str | Path | None = None,
    evaluation: "str | Path | Evaluation | None" = None,
    *,
    embeddings: "Embeddings | None" = None,
    out: str | Path | None = None,
    worst: int = 8,
    best: int = 4,
    neighbours: int = 5,
    map_images: int = 1500,
    thumbnail: int = 128,
    seed: int = 0,
    progress: bool = False,
) -> Path:
    """Write one HTML page about a run and its evaluation, and return it.

    Args:
        run: run folder; if not given, the page shows the evaluation alone.
        evaluation: evaluation folder, or what `lookalike.evaluate` returned; RUN/evaluation if not given.
        embeddings: what was evaluated, for pictures and the map, if the evaluation does not have them.
        out: the .html file, which is replaced if it exists; report.html in the run or evaluation folder if
            not given.
        worst: number of the hardest queries to show.
        best: number of the best queries to show.
        neighbours: number of hits of each query to show.
        map_images: maximum number of images on the map; less than 4 for no map.
        thumbnail: longer side of a picture, pixels.
        seed: of the map.
        progress: show progress bars.

    Raises:
        ConfigError: there is neither a run nor an evaluation, or `out` is missing or not an .html file.
        LookalikeError: a folder or file cannot be read.
    """
    from lookalike.report.page import Options, write_report
    from lookalike.report.read import read_run
    from lookalike.report.request import html_file, roc_of_evaluation, stored_evaluation

    page = html_file(run, evaluation, out)
    stored = stored_evaluation(run, evaluation, embeddings, page)
    options = Options(worst, best, neighbours, map_images, thumbnail, seed)
    curve = roc_of_evaluation(stored, evaluation, seed, progress)
    return write_report(None if run is None else read_run(run), stored, page, options, curve)
