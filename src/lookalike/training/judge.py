"""Judging a model while it trains: scores on the validation identities, and keeping the best."""

import logging
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from lookalike.errors import ConfigError, LookalikeError
from lookalike.evaluation import evaluate
from lookalike.losses.modifiers import Terms
from lookalike.metrics.inputs import factorise
from lookalike.metrics.records import direction_of, rankable, sign_of
from lookalike.model.embedder import EmbeddingModel
from lookalike.training.validation_loss import LOSS, validation_loss

if TYPE_CHECKING:
    from pathlib import Path

    from lookalike.training.processes import Embedded
    from lookalike.training.state import Result

log = logging.getLogger(__name__)
SHOWN = ("recall@1", "map@r")
PROBED, PROBE_DIM, SAME = 2048, 32, 1e-9
DIVERGED = "training has diverged. Lower the learning rates (lr, backbone_lr, loss_lr) or clip"


def validate(embedded: "Embedded", loss: Terms, metric: str, seed: int, num_classes: int) -> dict[str, float]:
    """Losses and scores on the validation identities, as history columns.

    Args:
        embedded: the validation images.
        loss: what training minimises.
        metric: the one that chooses the model; left out where these images do not support it.
        seed: of the batches of the validation loss.
        num_classes: of the training images.

    Raises:
        ValueError: the vectors cannot be evaluated.
    """
    vectors, labels, lengths = embedded.embeddings.vectors, embedded.embeddings.table.labels, embedded.lengths
    metrics = evaluate(vectors, labels, intervals=False).metrics
    raw = vectors if lengths is None else vectors * lengths[:, None].astype(np.float32)
    shown = validation_loss(loss, raw, factorise(labels, len(labels))[1], seed, num_classes)
    shown |= {name: metrics[name]["value"] for name in (*SHOWN, metric) if name in metrics}
    return {f"val_{name}": value for name, value in shown.items()}


def check_alive(vectors: np.ndarray) -> None:
    """Refuse the vectors [N, D] of a model that cannot recover.

    Raises:
        LookalikeError: not one is finite, or all are zero.
    """
    if not len(vectors):
        return
    if not np.isfinite(vectors).all(axis=1).any():
        raise LookalikeError(f"embeddings contain NaN or infinity: {DIVERGED}")
    if not np.any(vectors):
        raise LookalikeError(f"every embedding is zero, so the network is dead: {DIVERGED}")


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


@dataclass(frozen=True)
class Support:
    """What some validation labels can tell.

    Attributes:
        metrics: names of the metrics that they support, and whose value depends on the model.
        constant: metrics that are the same for every model, and this value.
        complete: whether all labels were looked at; otherwise more metrics may be supported.
        problem: why there are none at all; empty if there are some.
    """

    metrics: list[str] = field(default_factory=list)
    constant: dict[str, float] = field(default_factory=dict)
    complete: bool = True
    problem: str = ""

    def reason(self, metric: str) -> str:
        """Why `metric` cannot choose a model; empty if it can."""
        if self.problem:
            return self.problem
        if metric in self.constant:
            return f"{metric} is {self.constant[metric]:.3g} for every model on these images"
        if metric in self.metrics or not self.complete:
            return ""
        return f"these images do not support {metric}"


def support(labels: np.ndarray) -> Support:
    """What validation labels [N] can tell, found by evaluating made-up models on them; 2,048 rows at most.

    One made-up model is perfect, one puts images of a class as far apart as possible, one is random: a metric
    that is the same for all three says nothing.
    """
    rows = np.argsort(labels, kind="stable")[:PROBED]
    rng, complete = np.random.default_rng(0), len(rows) == len(labels)
    names, codes = factorise(labels[rows], len(rows))
    if len(rows) < 2:
        return Support(problem=f"there is {len(rows)} readable validation image")
    within = np.arange(len(codes)) - np.searchsorted(codes, codes)
    noise = 1e-3 * rng.normal(size=(len(codes), PROBE_DIM))
    directions = rng.normal(size=(len(codes), PROBE_DIM))
    models = [directions[codes] + noise, directions[within] + noise, directions]
    found = []
    for vectors in models:
        try:
            found.append(evaluate(vectors, codes, intervals=False).metrics)
        except ValueError as error:
            return Support(problem=_plain(error, len(names), len(rows)), complete=complete)
    common = [name for name in found[0] if all(name in each for each in found)]
    values = {name: [float(each[name]["value"]) for each in found] for name in common}
    constant = {name: each[0] for name, each in values.items() if max(each) - min(each) < SAME}
    varying = rankable([name for name in values if name not in constant])
    losses = [LOSS] if (np.bincount(codes) > 1).sum() > 1 else []
    return Support([*losses, *varying], constant, complete)


def _plain(error: ValueError, classes: int, images: int) -> str:
    if classes == images:
        return (
            f"the {images} validation images are of {classes} identities, one each: there is nothing to find"
        )
    return f"the validation images cannot be evaluated ({error})"


def keep_best(
    model: EmbeddingModel, score: float | None, metric: str, folder: "Path", result: "Result", epoch: int
) -> None:
    """Save the model if its score is at least as good as the best so far.

    Of equally good epochs the last is kept. Without a score (None, NaN or infinite) the model is saved only
    if no epoch has one yet.
    """
    known = score is not None and math.isfinite(score)
    if not known and result.best_score is not None:
        return
    if known and result.best_score is not None:
        gain = sign_of(metric) * (score - result.best_score)
        if gain < 0:
            return
        result.equal_epochs = 1 if gain > 0 else result.equal_epochs + 1
        result.improved_epoch = epoch if gain > 0 else result.improved_epoch
    else:
        result.equal_epochs, result.improved_epoch = 1, epoch
    model.save(folder, about=f"The model after epoch {epoch}.")
    result.best_score, result.best_epoch = score if known else None, epoch
