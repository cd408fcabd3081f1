"""Judging a model while it trains: scores on the validation identities, and keeping the best."""

import logging
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from lookalike.data.samplers import PerClass
from lookalike.errors import ConfigError, LookalikeError
from lookalike.evaluation.evaluate import evaluate
from lookalike.losses._base import ProxyLoss
from lookalike.losses.cross_batch_memory import CrossBatchMemory
from lookalike.losses.distillation import Distillation
from lookalike.losses.margin import Margin
from lookalike.losses.modifiers import Terms
from lookalike.losses.triplet import Triplet
from lookalike.metrics.inputs import factorise
from lookalike.metrics.records import direction_of, rankable, sign_of
from lookalike.model.embedder import EmbeddingModel
from lookalike.training.state_preservation import preserve_state

if TYPE_CHECKING:
    from pathlib import Path

    from lookalike.training.processes import Embedded
    from lookalike.training.state import Result

log = logging.getLogger(__name__)
CLASSES, IMAGES = 16, 4
LOSS, STAND_IN = "loss", "semi_hard_triplet_loss"
NEVER = 2**62
"""Calls before a memory is looked at."""


def validation_loss(
    loss: Terms, vectors: np.ndarray, codes: np.ndarray, seed: int, num_classes: int
) -> dict[str, float]:
    """Mean losses of fixed batches of validation images, each image about once, by name.

    `loss` is the whole training loss, without memories. Where a term is bound to the training classes or to a
    teacher, there is no such number: then the other terms are `loss_<term>` each, times their weight. Where
    every term is bound, `semi_hard_triplet_loss` is the semi-hard triplet loss of margin 0.2.

    Args:
        loss: what training minimises; it is as before afterwards.
        vectors: embeddings, [N, D]; raw if `uses_length(loss)`.
        codes: class of each, [N].
        seed: of the batches.
        num_classes: of the training images.

    Returns:
        Nothing where fewer than two classes have two images.
    """
    sizes = np.bincount(codes)
    if (sizes > 1).sum() < 2:
        return {}
    batches = PerClass(codes, min(CLASSES, int((sizes > 1).sum())), IMAGES, seed=seed).batches(0)
    bound = bound_terms(loss, num_classes)
    terms = {f"{LOSS}_{name}": (loss.weights[name], term) for name, term in loss.losses.items()}
    terms = {name: term for name, term in terms.items() if name.removeprefix(f"{LOSS}_") not in bound}
    terms = terms or {STAND_IN: (1.0, Triplet(mining="semi_hard"))}
    embeddings, labels = torch.from_numpy(np.ascontiguousarray(vectors)), torch.from_numpy(codes)
    with torch.no_grad(), preserve_state(loss, device=_device(loss)):
        torch.manual_seed(seed)
        loss.eval()
        for part in loss.modules():
            if isinstance(part, CrossBatchMemory):
                part.warm_up = NEVER
        result: dict[str, float] = dict.fromkeys(terms, 0.0)
        for rows in batches:
            for name, (weight, term) in terms.items():
                result[name] += weight * float(_value(term, embeddings[rows], labels[rows]))
    means = {name: total / len(batches) for name, total in result.items()}
    return {LOSS: sum(means.values())} if not bound else means


def bound_terms(loss: Terms, num_classes: int) -> list[str]:
    """Names of the terms that have no value for images of other classes than those of training."""
    return [name for name, term in loss.losses.items() if _is_bound(term, num_classes)]


def _is_bound(term: nn.Module, num_classes: int) -> bool:
    """Whether a term knows the training classes, or wants a teacher's embeddings.

    A loss of the user's own knows them if it has an attribute `num_classes`, or a tensor with as many rows or
    columns as there are classes.
    """
    for part in term.modules():
        if isinstance(part, Distillation | ProxyLoss) or getattr(part, "num_classes", None) is not None:
            return True
        if isinstance(part, Margin) and part.learn == "per_class":
            return True
        if not _is_ours(part) and any(num_classes in numbers.shape for numbers in _tensors(part)):
            return True
    return False


def uses_length(loss: Terms) -> bool:
    """Whether the length of raw embeddings changes the loss; of a loss of the user's own nobody knows."""
    return any(
        getattr(part, "uses_length", not _is_ours(part))
        for part in loss.losses.modules()
        if not isinstance(part, nn.ModuleDict | nn.ModuleList)
    )


def _is_ours(part: nn.Module) -> bool:
    return type(part).__module__.startswith(("lookalike.", "torch."))


def _tensors(part: nn.Module) -> list[Tensor]:
    return [*part.parameters(recurse=False), *part.buffers(recurse=False)]


def _value(term: nn.Module, embeddings: Tensor, labels: Tensor) -> Tensor:
    device = _device(term)
    return term(embeddings.to(device), labels.to(device))


def _device(module: nn.Module) -> torch.device:
    return next((each.device for each in [*module.parameters(), *module.buffers()]), torch.device("cpu"))


SHOWN_METRICS = ("recall@1", "map@r")
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
    values = validation_loss(loss, raw, factorise(labels, len(labels))[1], seed, num_classes)
    values |= {name: metrics[name]["value"] for name in (*SHOWN_METRICS, metric) if name in metrics}
    return {f"val_{name}": value for name, value in values.items()}


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
    known_metrics = evaluate(np.random.default_rng(0).normal(size=(64, 2)), labels, intervals=False).metrics
    usable = rankable((LOSS, *known_metrics))
    if metric in usable:
        return
    lower = ", ".join(name for name in usable if direction_of(name) == "lower")
    higher = ", ".join(name for name in usable if direction_of(name) == "higher")
    why = "no value of it is better than another; " if metric in known_metrics else ""
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
    results = []
    for vectors in models:
        try:
            results.append(evaluate(vectors, codes, intervals=False).metrics)
        except ValueError as error:
            return Support(problem=_plain(error, len(names), len(rows)), complete=complete)
    common = [name for name in results[0] if all(name in each for each in results)]
    values = {name: [float(each[name]["value"]) for each in results] for name in common}
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
    is_score = score is not None and math.isfinite(score)
    if not is_score and result.best_score is not None:
        return
    if is_score and result.best_score is not None:
        gain = sign_of(metric) * (score - result.best_score)
        if gain < 0:
            return
        result.equal_epochs = 1 if gain > 0 else result.equal_epochs + 1
        result.improved_epoch = epoch if gain > 0 else result.improved_epoch
    else:
        result.equal_epochs, result.improved_epoch = 1, epoch
    model.save(folder, card_text=f"The model after epoch {epoch}.")
    result.best_score, result.best_epoch = score if is_score else None, epoch
