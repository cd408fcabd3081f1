"""The training loss on validation images, as far as it has a value there."""

import numpy as np
import torch
from torch import Tensor, nn

from lookalike.data.samplers import PerClass
from lookalike.losses._base import ProxyLoss
from lookalike.losses.cross_batch_memory import CrossBatchMemory
from lookalike.losses.distillation import Distillation
from lookalike.losses.margin import Margin
from lookalike.losses.modifiers import Terms
from lookalike.losses.triplet import Triplet
from lookalike.training.state_preservation import preserve_state

CLASSES, IMAGES = 16, 4
LOSS, STAND_IN = "loss", "semi_hard_triplet_loss"
NEVER = 2**62
"""Warm-up of a memory that is not to be used."""


def validation_loss(
    loss: Terms, vectors: np.ndarray, codes: np.ndarray, seed: int, num_classes: int
) -> dict[str, float]:
    """Mean losses of fixed batches of validation images, each image about once, by name.

    `loss` is the whole training loss, without memories. It has no value where a term is bound to the training
    classes or to a teacher; then each other term is `loss_<term>`, times its weight. If every term is bound,
    `semi_hard_triplet_loss` is the semi-hard triplet loss with margin 0.2.

    Args:
        loss: what training minimises; its state is restored afterwards.
        vectors: embeddings, [N, D]; raw if `uses_length(loss)`.
        codes: class of each, [N].
        seed: of the batches.
        num_classes: number of training classes.

    Returns:
        An empty dict if fewer than two classes have two images.
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
    """Whether a term depends on the training classes, or on a teacher's embeddings.

    A custom loss is taken to depend on them if it has an attribute `num_classes`, or a tensor with as many
    rows or columns as there are classes.
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
    """Whether the norm of raw embeddings changes the loss; a custom loss is taken to depend on it."""
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
