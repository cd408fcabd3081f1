"""Judging a model while it trains: scores on the validation identities, and keeping the best."""

import math
from typing import TYPE_CHECKING

import numpy as np

from lookalike.data.table import Table
from lookalike.embeddings import embed
from lookalike.errors import ConfigError, LookalikeError, Problem
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
        LookalikeError: the model's vectors are not finite.
    """
    if validation is None:
        return {}
    embeddings = embed(model, validation, progress=False)
    if not np.isfinite(embeddings.vectors).all():
        raise LookalikeError(
            "the model no longer gives numbers: training has gone astray. Lower the learning rates (lr, "
            "backbone_lr, loss_lr) or clip"
        )
    metrics = evaluate(embeddings.vectors, embeddings.table.labels, intervals=False).metrics
    return {f"val_{name}": metrics[name]["value"] for name in dict.fromkeys((*SHOWN, metric))}


def check_metric(metric: str) -> None:
    """Refuse a metric that evaluation does not give, before anything is trained.

    Raises:
        ConfigError: listing those that it gives.
    """
    labels = np.arange(64) // 4
    known = evaluate(np.random.default_rng(0).normal(size=(64, 2)), labels, intervals=False).metrics
    if metric not in known:
        raise ConfigError(f"best_metric={metric}: choose one of {', '.join(known)}")


def keep_best(model: EmbeddingModel, score: float | None, folder: "Path", result: "Result") -> None:
    """Save the model if its score beats the best so far; without a score (None or NaN), always."""
    known = score is not None and not math.isnan(score)
    if known and result.best_score is not None and not score > result.best_score:
        return
    result.best_score, result.best_epoch = score if known else None, result.epochs
    model.save(folder, about=f"The model after epoch {result.epochs}.")
