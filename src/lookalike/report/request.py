"""Resolving the arguments of a report: page, evaluation and ROC curve."""

import logging
from dataclasses import replace
from pathlib import Path

from lookalike.embeddings import Embeddings
from lookalike.errors import ConfigError, DataError
from lookalike.evaluation.result import Evaluation as Result
from lookalike.evaluation.roc import evaluation_rules, roc_by
from lookalike.metrics.roc import Roc
from lookalike.report.read import Evaluation, find_evaluation, read_evaluation

log = logging.getLogger(__name__)
MOST_FOR_ROC = 20_000
"""Maximum number of images for the ROC curve, so that a report does not take minutes."""


def html_file(run: object, evaluation: object, out: str | Path | None) -> Path:
    """The page to write: `out`, or report.html in the folder of the run or evaluation.

    Raises:
        ConfigError: there is nothing to show, no file to write, or it is not an .html file.
    """
    if run is None and evaluation is None:
        raise ConfigError("report needs run=… or evaluation=…, for example: lookalike report run=runs/mine")
    folder = evaluation if run is None else run
    if out is None and not isinstance(folder, str | Path):
        raise ConfigError("report of an evaluation that is not in a folder needs out=, such as report.html")
    page = Path(str(folder), "report.html") if out is None else Path(out)
    if page.suffix.lower() not in (".html", ".htm") or page.is_dir():
        raise ConfigError(f"out={page}: the page is an .html file")
    return page


def stored_evaluation(
    run: str | Path | None,
    evaluation: str | Path | Result | None,
    embeddings: Embeddings | None,
    page: Path,
) -> Evaluation:
    """The evaluation as a report shows it: read from a folder, or the result in memory."""
    if isinstance(evaluation, Result) and embeddings is None:
        embeddings = evaluation.embeddings
    if evaluation is None:
        stored = find_evaluation(str(run))
    elif isinstance(evaluation, str | Path):
        stored = read_evaluation(evaluation)
    else:
        stored = Evaluation(
            page.with_suffix(""),
            evaluation.to_dict(),
            per_query=evaluation.per_query,
            per_identity=evaluation.per_identity,
            distances=evaluation.distances,
            skipped=[] if embeddings is None else embeddings.skipped,
            missing=[] if embeddings is not None else ["no pictures and no map: give embeddings="],
        )
    return stored if embeddings is None else replace(stored, embeddings=embeddings)


def roc_of_evaluation(stored: Evaluation, result: object, seed: int, progress: bool = False) -> Roc | None:
    """The ROC curve; None without vectors, with too many of them, or with pairs of one kind only.

    Args:
        stored: the evaluation as the report shows it.
        result: what it was made from; an `Evaluation` in memory knows its own pairs.
        seed: of the intervals.
        progress: show a progress bar.
    """
    embeddings = stored.embeddings
    if embeddings is None or len(embeddings) > MOST_FOR_ROC:
        return None
    try:
        if isinstance(result, Result):
            return result.roc(seed)
        return roc_by(evaluation_rules(stored.config), embeddings, seed, progress)
    except (DataError, ValueError) as error:
        log.info("no ROC curve: %s", error)
        return None
