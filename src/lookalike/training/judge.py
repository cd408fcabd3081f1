"""Judging a model while it trains: scores on the validation identities, and keeping the best."""

import math
from typing import TYPE_CHECKING

import numpy as np

from lookalike.embeddings import Embeddings
from lookalike.errors import ConfigError, LookalikeError
from lookalike.evaluation import evaluate
from lookalike.losses.modifiers import Terms
from lookalike.metrics.inputs import factorise
from lookalike.model.embedder import EmbeddingModel
from lookalike.training.validation_loss import validation_loss

if TYPE_CHECKING:
    from pathlib import Path

    from lookalike.training.state import Result

SHOWN = ("recall@1", "map@r")
LOSS = "loss"
LOWER = (LOSS,)
"""What is better the lower it is."""


def validate(embeddings: Embeddings | None, loss: Terms, metric: str, seed: int) -> dict[str, float]:
    """Loss and scores on the validation identities, as history columns; none without such identities.

    Raises:
        LookalikeError: the model's vectors are not finite.
    """
    if embeddings is None:
        return {}
    if not np.isfinite(embeddings.vectors).all():
        raise LookalikeError(
            "the model no longer gives numbers: training has gone astray. Lower the learning rates (lr, "
            "backbone_lr, loss_lr) or clip"
        )
    labels = embeddings.table.labels
    metrics = evaluate(embeddings.vectors, labels, intervals=False).metrics
    lost = validation_loss(loss, embeddings.vectors, factorise(labels, len(labels))[1], seed)
    shown = {} if lost is None else {LOSS: lost}
    for name in (*SHOWN, metric):
        if name != LOSS:
            shown[name] = metrics[name]["value"]
    return {f"val_{name}": value for name, value in shown.items()}


def check_metric(metric: str) -> None:
    """Refuse a metric that evaluation does not give, before anything is trained.

    Raises:
        ConfigError: listing those that it gives.
    """
    labels = np.arange(64) // 4
    known = evaluate(np.random.default_rng(0).normal(size=(64, 2)), labels, intervals=False).metrics
    if metric not in (*known, LOSS):
        raise ConfigError(f"best_metric={metric}: choose one of {', '.join((LOSS, *known))}")


def keep_best(
    model: EmbeddingModel, score: float | None, metric: str, folder: "Path", result: "Result"
) -> None:
    """Save the model if its score beats the best so far; without a score (None or NaN), always."""
    known = score is not None and not math.isnan(score)
    if known and result.best_score is not None:
        sign = -1 if metric in LOWER else 1
        if not sign * score > sign * result.best_score:
            return
    result.best_score, result.best_epoch = score if known else None, result.epochs
    model.save(folder, about=f"The model after epoch {result.epochs}.")
