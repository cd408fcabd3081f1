"""Judging a model while it trains: scores on the validation identities, and keeping the best."""

import math
from typing import TYPE_CHECKING

import numpy as np

from lookalike.embeddings import Embeddings
from lookalike.errors import ConfigError, LookalikeError
from lookalike.evaluation import evaluate
from lookalike.losses.modifiers import Terms
from lookalike.metrics.inputs import factorise
from lookalike.metrics.records import direction_of, rankable, sign_of
from lookalike.model.embedder import EmbeddingModel
from lookalike.training.validation_loss import validation_loss

if TYPE_CHECKING:
    from pathlib import Path

    from lookalike.training.state import Result

SHOWN = ("recall@1", "map@r")
LOSS = "loss"


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
    """Refuse a metric that evaluation does not give, or whose values are neither better nor worse.

    Raises:
        ConfigError: listing those that can choose a model, and which of them are better the lower they are.
    """
    labels = np.arange(64) // 4
    known = evaluate(np.random.default_rng(0).normal(size=(64, 2)), labels, intervals=False).metrics
    usable = rankable((LOSS, *known))
    if metric in usable:
        return
    lower = ", ".join(name for name in usable if direction_of(name) == "lower")
    higher = ", ".join(name for name in usable if direction_of(name) == "higher")
    why = "no value of it is better than another; " if metric in known else ""
    raise ConfigError(
        f"best_metric={metric}: {why}choose one of {higher} (higher is better), {lower} (lower is better)"
    )


def keep_best(
    model: EmbeddingModel, score: float | None, metric: str, folder: "Path", result: "Result"
) -> None:
    """Save the model if its score beats the best so far; without a score (None or NaN), always."""
    known = score is not None and not math.isnan(score)
    if known and result.best_score is not None:
        sign = sign_of(metric)
        if not sign * score > sign * result.best_score:
            return
    result.best_score, result.best_epoch = score if known else None, result.epochs
    model.save(folder, about=f"The model after epoch {result.epochs}.")
