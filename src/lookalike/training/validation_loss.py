"""The loss on identities that training never sees, on the same batches in every epoch."""

import numpy as np
import torch
from torch import nn

from lookalike.data.samplers import PerClass
from lookalike.losses._base import PairLoss
from lookalike.losses.cross_batch_memory import CrossBatchMemory
from lookalike.losses.modifiers import Terms
from lookalike.losses.triplet import Triplet

CLASSES, IMAGES = 16, 4


def validation_loss(loss: Terms, vectors: np.ndarray, codes: np.ndarray, seed: int) -> float | None:
    """Mean loss of fixed batches of validation images, each image about once.

    The terms that compare images with images are taken as they are, without their memory. Terms with proxies
    have none for these classes: where there are no other terms, it is the semi-hard triplet loss of margin
    0.2 instead.

    Args:
        loss: what training minimises.
        vectors: embeddings, [N, D].
        codes: class of each, [N].
        seed: of the batches.

    Returns:
        None where no class has two images.
    """
    sizes = np.bincount(codes)
    if (sizes > 1).sum() < 2:
        return None
    batches = PerClass(codes, min(CLASSES, int((sizes > 1).sum())), IMAGES, seed=seed).batches(0)
    terms = [(weight, term) for weight, term in _terms(loss) if _compares(term)]
    terms = terms or [(1.0, Triplet(mining="semi_hard"))]
    embeddings, labels = torch.from_numpy(np.ascontiguousarray(vectors)), torch.from_numpy(codes)
    with torch.no_grad(), torch.random.fork_rng([]):
        torch.manual_seed(seed)
        values = [weight * term(embeddings[rows], labels[rows]) for rows in batches for weight, term in terms]
    return float(torch.stack(values).sum()) / len(batches)


def _terms(loss: Terms) -> list[tuple[float, nn.Module]]:
    """Weights and losses, those of a memory without it."""
    return [
        (loss.weights[name], term.loss if isinstance(term, CrossBatchMemory) else term)
        for name, term in loss.losses.items()
    ]


def _compares(term: nn.Module) -> bool:
    """Whether it compares images with images, by their directions, and has learned nothing of its classes."""
    pairs = any(isinstance(part, PairLoss) for part in term.modules())
    memory = any(isinstance(part, CrossBatchMemory) for part in term.modules())
    learned = next(term.parameters(), None) is not None
    return pairs and not memory and not learned and not getattr(term, "uses_length", False)
