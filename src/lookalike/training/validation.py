"""Evaluation of the model while it trains: scores on the validation identities, and the best model."""

import logging
import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from lookalike.errors import ConfigError, LookalikeError
from lookalike.evaluation.evaluate import evaluate
from lookalike.losses.modifiers import Terms
from lookalike.metrics.inputs import factorise
from lookalike.metrics.records import default_names, direction_of, rankable, sign_of
from lookalike.model.embedder import EmbeddingModel
from lookalike.training.components import RunComponents
from lookalike.training.history import Result
from lookalike.training.plateau import Plateau
from lookalike.training.processes import Embedded, embed_together
from lookalike.training.validation_loss import LOSS, uses_length, validation_loss

log = logging.getLogger(__name__)
SHOWN_METRICS = ("recall@1", "map@r")
MAX_ROWS, PROBE_DIM, SAME = 2048, 32, 1e-9
DIVERGED = "training has diverged. Lower the learning rates (lr, backbone_lr, loss_lr) or set clip"


def check_metric(metric: str) -> None:
    """Refuse a metric that evaluation does not compute, or whose values are neither better nor worse.

    Raises:
        ConfigError: listing those that can choose a model, and for which of them lower values are better.
    """
    known = default_names()
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
    """The metrics that validation labels allow to compute.

    Attributes:
        metrics: names of the metrics that they support, and whose value depends on the model.
        constant: metrics that are the same for every model, and this value.
        complete: whether all labels were examined; otherwise more metrics may be supported.
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
    """The metrics that validation labels [N] support, found by evaluating synthetic models on 2,048 of them.

    One synthetic model is perfect, one puts images of a class as far apart as possible, and one is random: a
    metric that is the same for all three does not depend on the model.
    """
    rows = np.argsort(labels, kind="stable")[:MAX_ROWS]
    rng, complete = np.random.default_rng(0), len(rows) == len(labels)
    names, codes = factorise(labels[rows], len(rows))
    if len(rows) < 2:
        return Support(problem=f"there is {len(rows)} readable validation image")
    within = np.arange(len(codes)) - np.searchsorted(codes, codes)
    noise = 1e-3 * rng.normal(size=(len(codes), PROBE_DIM))
    directions = rng.normal(size=(len(codes), PROBE_DIM))
    models = [directions[codes] + noise, directions[within] + noise, directions]
    results = []
    for vectors in models:
        try:
            results.append(evaluate(vectors, codes, intervals=False).metrics)
        except ValueError as error:
            return Support(problem=_describe(error, len(names), len(rows)), complete=complete)
    common = [name for name in results[0] if all(name in each for each in results)]
    values = {name: [float(each[name]["value"]) for each in results] for name in common}
    constant = {name: each[0] for name, each in values.items() if max(each) - min(each) < SAME}
    varying = rankable([name for name in values if name not in constant])
    losses = [LOSS] if (np.bincount(codes) > 1).sum() > 1 else []
    return Support([*losses, *varying], constant, complete)


def _describe(error: ValueError, classes: int, images: int) -> str:
    if classes == images:
        return (
            f"the {images} validation images are of {classes} identities, one each: there is nothing to find"
        )
    return f"the validation images cannot be evaluated ({error})"


class Validation:
    """Validates a model after each epoch.

    After `score`, `error` is the standard error of the score that chooses the best epoch, over identities; 0
    for metrics that have no value per query.

    Args:
        parts: the run.

    Raises:
        ConfigError: the validation images support other metrics than the one asked for, or the schedule needs
            a score that they do not give.
    """

    def __init__(self, parts: RunComponents):
        self.table, self.settings, self.accelerator = parts.validation, parts.settings, parts.accelerator
        self.num_classes = len(np.unique(parts.train.labels))
        self.error = 0.0
        self.support = Support() if self.table is None else support(self.table.labels)
        self._check(parts)

    def _check(self, parts: RunComponents) -> None:
        metric = self.settings.best_metric
        patience = any(plan.patience is not None for plan in parts.stages)
        if self.table is None:
            if patience:
                log.warning("patience is ignored: there are no validation images to evaluate an epoch on")
            return
        reason = self.support.reason(metric)
        if not reason:
            return
        plateau = any(isinstance(plan.schedule, Plateau) for plan in parts.stages)
        if plateau or not (self.support.problem or metric in self.support.constant):
            waits = "scheduler=plateau waits for it: take another scheduler or more validation images. "
            choices = ", ".join(self.support.metrics) or "none"
            raise ConfigError(
                f"best_metric={metric}: {reason}. {waits if plateau else ''}These {len(self.table)} "
                f"validation images support {choices}"
            )
        log.warning(
            "validation cannot choose an epoch: %s. The last epoch is kept%s. Use more validation identities "
            "with two images or more each (split=val in the table, or val_share)",
            *(reason, ", and patience is ignored" if patience else ""),
        )

    def embed(self, model: EmbeddingModel, loss: Terms) -> Embedded | str | None:
        """Vectors of the validation images, which all processes share; or why there are none.

        Returns:
            None if there is nothing to evaluate, and in all processes but the main one.
        """
        if self.support.problem and self.support.complete:
            return None
        return embed_together(model, self.table, self.accelerator, uses_length(loss))

    def score(
        self, embedded: Embedded | str | None, loss: Terms, epoch: int, result: Result
    ) -> tuple[dict[str, float], str]:
        """Losses and scores of an epoch, as history columns, and a note if validation failed.

        Args:
            embedded: what `embed` returned.
            loss: what training minimises.
            epoch: for the message.
            result: gets the images that could not be read.

        Raises:
            LookalikeError: training has diverged.
        """
        if embedded is None:
            return {}, ""
        problem = embedded
        if not isinstance(embedded, str):
            result.skip(embedded.embeddings.skipped)
            check_embeddings(embedded.embeddings.vectors)
            try:
                return self._evaluate(embedded, loss), ""
            except Exception as error:
                problem = f"{type(error).__name__}: {error}"
                log.debug("validation failed", exc_info=True)
        log.warning(
            "epoch %d: validation failed, so this epoch has no scores and training continues: %s",
            *(epoch, problem),
        )
        return {}, f"validation failed: {problem}"

    def _evaluate(self, embedded: Embedded, loss: Terms) -> dict[str, float]:
        vectors, labels = embedded.embeddings.vectors, embedded.embeddings.table.labels
        lengths, seed = embedded.lengths, self.settings.seed
        result = evaluate(vectors, labels, intervals=False)
        metrics, queries, chosen = result.metrics, result.per_query, self.settings.best_metric
        self.error = 0.0
        if chosen in queries.columns:
            self.error = standard_error(
                queries[chosen].cast(pl.Float64).fill_null(np.nan).to_numpy(), queries["label"].to_numpy()
            )
        raw = vectors if lengths is None else vectors * lengths[:, None].astype(np.float32)
        values = validation_loss(loss, raw, factorise(labels, len(labels))[1], seed, self.num_classes)
        shown = (*SHOWN_METRICS, self.settings.best_metric)
        values |= {name: metrics[name]["value"] for name in shown if name in metrics}
        return {f"val_{name}": value for name, value in values.items()}

    def choosing_score(self, scores: dict[str, float]) -> float | None:
        """The score that chooses the best epoch; None if the validation images cannot choose one."""
        metric = self.settings.best_metric
        return None if self.support.reason(metric) else scores.get(f"val_{metric}")


def check_embeddings(vectors: np.ndarray) -> None:
    """Refuse the vectors [N, D] of a model that cannot recover.

    Raises:
        LookalikeError: none is finite, or all are zero.
    """
    if not len(vectors):
        return
    if not np.isfinite(vectors).all(axis=1).any():
        raise LookalikeError(f"embeddings contain NaN or infinity: {DIVERGED}")
    if not np.any(vectors):
        raise LookalikeError(f"every embedding is zero, so the network is dead: {DIVERGED}")


def standard_error(values: np.ndarray, identities: np.ndarray) -> float:
    """Standard error of the mean of values [Q], with their identities [Q] as units; NaN is left out.

    0 with fewer than two identities, which have no spread.
    """
    known = ~np.isnan(values)
    _, codes = np.unique(identities[known], return_inverse=True)
    units = int(codes.max(initial=-1)) + 1
    if units < 2:
        return 0.0
    residuals = np.bincount(codes, values[known] - values[known].mean())
    return float(np.sqrt(np.square(residuals).sum() * units / (units - 1)) / known.sum())


def keep_best(
    model: EmbeddingModel,
    score: float | None,
    metric: str,
    folder: Path,
    result: Result,
    epoch: int,
    error: float = 0.0,
) -> None:
    """Save the model unless its score is worse than the best so far by more than that one's standard error.

    A few validation identities cannot tell neighbouring epochs apart, and the highest of many such scores is
    often luck, so a later epoch, with lower learning rates and a longer average, is preferred (the
    one-standard-error rule of Breiman et al., 1984). Without a score (None, NaN or infinite) the model is
    saved only if no epoch has one yet.
    """
    is_score = score is not None and math.isfinite(score)
    if not is_score and result.best_score is not None:
        return
    gain = math.inf
    if is_score and result.best_score is not None and result.peak_score is not None:
        gain = sign_of(metric) * (score - result.peak_score)
        if gain < -result.peak_error:
            return
    if gain > 0:
        result.peak_score, result.peak_error, result.peak_epoch = (score if is_score else None), error, epoch
        result.equal_epochs, result.improved_epoch = 1, epoch
    elif gain == 0:
        result.equal_epochs += 1
    model.save(folder, card_text=f"The model after epoch {epoch}.")
    result.best_score, result.best_epoch = score if is_score else None, epoch
