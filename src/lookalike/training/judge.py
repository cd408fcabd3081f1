"""Judging a model while it trains: scores on the validation identities, and keeping the best."""

import math
from typing import TYPE_CHECKING

from lookalike.data.table import Table
from lookalike.embeddings import embed
from lookalike.errors import ConfigError, Problem
from lookalike.evaluation import evaluate
from lookalike.model.embedder import EmbeddingModel

if TYPE_CHECKING:
    from pathlib import Path

    from lookalike.training.state import Result

SHOWN = ("recall@1", "map@r")


def validate(
    model: EmbeddingModel, validation: Table | None, metric: str, skipped: dict[int, Problem]
) -> dict[str, float]:
    """Scores on the validation identities, as history columns; none without such identities.

    Raises:
        ConfigError: `metric` is none of the metrics that evaluation gives; they are listed.
    """
    if validation is None:
        return {}
    embeddings = embed(model, validation, progress=False)
    metrics = evaluate(embeddings.vectors, embeddings.table.labels, intervals=False).metrics
    if metric not in metrics:
        raise ConfigError(f"best_metric={metric}: choose one of {', '.join(metrics)}")
    return {f"val_{name}": metrics[name]["value"] for name in dict.fromkeys((*SHOWN, metric))}


def keep_best(model: EmbeddingModel, score: float | None, folder: "Path", result: "Result") -> None:
    """Save the model if its score beats the best so far; without a score (None or NaN), always."""
    known = score is not None and not math.isnan(score)
    if known and result.best_score is not None and not score > result.best_score:
        return
    result.best_score, result.best_epoch = score if known else None, result.epochs
    model.save(folder, about=f"The model after epoch {result.epochs}.")
