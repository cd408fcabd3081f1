"""Where a head starts: from what the pretrained features of the training images look like."""

import logging

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from lookalike.data.images import ImageTable, collate
from lookalike.data.table import Table
from lookalike.model.embedder import EmbeddingModel
from lookalike.model.heads import Linear

log = logging.getLogger(__name__)
IMAGES = 2048
POWER = 0.25
FLOOR = 1e-3


def whiten_head(model: EmbeddingModel, table: Table, seed: int, workers: int = 0) -> None:
    """Start a linear head as a half-whitened PCA of the features of up to 2,048 training images.

    Raw features of a pretrained backbone all point into one narrow cone, and a random projection keeps them
    there: every image looks like every other, and losses with proxies collapse. Centred, and with each
    principal direction divided by the square root of its standard deviation, they start spread out, and
    already tell more apart than the backbone alone.

    Args:
        model: its head is changed in place; one that is not linear, or longer than the features, is left.
        table: the training images.
        seed: which images are taken.
        workers: processes that read them.
    """
    head = model.head
    if not isinstance(head, Linear) or head.dim > head.layer.in_features:
        return
    features = _features(model, table, seed, workers)
    if len(features) < 2:
        return
    mean, directions, spread = _principal(features, head.dim)
    weight = directions * spread.pow(-2 * POWER)[:, None]
    weight *= head.layer.weight.pow(2).mean().sqrt() / weight.pow(2).mean().sqrt()
    with torch.no_grad():
        head.layer.weight.copy_(weight)
        head.layer.bias.copy_(-weight @ mean)


def _features(model: EmbeddingModel, table: Table, seed: int, workers: int) -> Tensor:
    """Pooled features [N, features] of some training images, in float64."""
    rows = np.random.default_rng(seed).permutation(len(table))[:IMAGES]
    images = ImageTable(table, model.transform(), at_least=model.transform().at_least)
    loader = DataLoader(Subset(images, rows.tolist()), 64, num_workers=workers, collate_fn=collate)
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        found = [
            model.pooled(batch.images.to(model.device)).double().cpu() for batch in loader if len(batch.rows)
        ]
    model.train(was_training)
    return torch.cat(found).clone() if found else torch.empty(0, 1)


def _principal(features: Tensor, dim: int) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, the `dim` strongest directions [dim, features], and the standard deviation along each."""
    mean = features.mean(0)
    variance, directions = torch.linalg.eigh(torch.cov((features - mean).T))
    variance, directions = variance.flip(0)[:dim], directions.flip(1)[:, :dim]
    spread = variance.clamp_min(FLOOR * variance[0].clamp_min(1e-12)).sqrt()
    return mean.float(), directions.T.float(), spread.float()
