"""Where a head and proxies start: from what the pretrained features of the training images look like."""

import logging
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from lookalike.data.images import ImageTable, collate
from lookalike.data.table import Table, class_ids
from lookalike.losses._base import ProxyLoss
from lookalike.model.embedder import EmbeddingModel
from lookalike.model.heads import Linear

log = logging.getLogger(__name__)
IMAGES = 2048
POWER = 0.25
FLOOR = 1e-3
PER_CLASS, MAX_PROXIES, CENTER_NOISE = 4, 16_384, 0.3
PAIR_SIMILARITY = 0.5


def whiten_head(
    model: EmbeddingModel, table: Table, seed: int, workers: int = 0, similarity: float = 0.0
) -> None:
    """Start a linear head as a half-whitened PCA of the features of up to 2,048 training images.

    Raw features of a pretrained backbone all point into one narrow cone, and a random projection keeps them
    there: every image looks like every other, and losses with proxies collapse. Centred, and with each
    principal direction divided by the square root of its standard deviation, they start spread out, and
    already tell more apart than the backbone alone.

    Losses of pairs need images that are somewhat similar: at similarity 0, most negatives are below the
    margin and exert no force, so the positives pull all images into one point. `similarity` therefore keeps
    a part of the mean.

    Args:
        model: its head is changed in place; one that is not linear, or longer than the features, is left.
        table: the training images.
        seed: which images are taken.
        workers: processes that read them.
        similarity: mean cosine similarity of two images at the start, in [0, 1).
    """
    head = model.head
    if not isinstance(head, Linear) or head.dim > head.layer.in_features:
        return
    rows = np.random.default_rng(seed).permutation(len(table))[:IMAGES]
    _, features = _vectors(model, model.pool_features, table, rows, workers)
    if len(features) < 2:
        return
    mean, directions, spread = _principal(features, head.dim)
    weight = directions * spread.pow(-2 * POWER)[:, None]
    weight *= head.layer.weight.pow(2).mean().sqrt() / weight.pow(2).mean().sqrt()
    length = ((features.float() - mean) @ weight.T).pow(2).sum(1).mean().sqrt()
    offset = F.normalize(weight @ mean, dim=0) * length * (similarity / (1 - similarity)) ** 0.5
    with torch.no_grad():
        head.layer.weight.copy_(weight)
        head.layer.bias.copy_(offset - weight @ mean)


def start_similarity(loss: nn.Module) -> float:
    """Mean similarity at which embeddings start: 0 for losses with proxies, 0.5 for losses of pairs only."""
    has_proxies = any(isinstance(part, ProxyLoss) for part in loss.modules())
    return 0.0 if has_proxies else PAIR_SIMILARITY


def start_proxies(loss: nn.Module, model: EmbeddingModel, table: Table, seed: int, workers: int = 0) -> None:
    """Start the proxies of every loss in `loss` at the mean direction of their classes.

    Random proxies tell an embedding nothing for the first epochs: each image flees from all of them alike,
    and with a thousand classes the embeddings may end up in one point. Up to 4 images of a class are looked
    at, 16,384 in all; a class without any keeps its random proxy. Several centres of a class start around
    its mean.

    Args:
        loss: changed in place.
        model: embeds the images as it is.
        table: the training images.
        seed: which images are taken.
        workers: processes that read them.
    """
    parts = [part for part in loss.modules() if isinstance(part, ProxyLoss) and part.starts_at_means]
    if not parts:
        return
    ids = class_ids(table.labels)
    classes = np.array([ids[label] for label in table.labels.tolist()])
    rows = _sample_per_class(classes, seed)
    read_rows, vectors = _vectors(model, model.features, table, rows, workers)
    if not len(read_rows):
        return
    for part in parts:
        sums = torch.zeros(len(ids), part.dim, dtype=vectors.dtype)
        sums.index_add_(0, torch.from_numpy(classes[read_rows]), F.normalize(vectors[:, : part.dim]))
        _move_to_means(part, sums)


def _sample_per_class(classes: np.ndarray, seed: int) -> np.ndarray:
    """Rows of up to 4 random images of each class, 16,384 in all."""
    order = np.random.default_rng(seed).permutation(len(classes))
    order = order[np.argsort(classes[order], kind="stable")]
    sorted_classes = classes[order]
    position = np.arange(len(order)) - np.searchsorted(sorted_classes, sorted_classes)
    return order[np.argsort(position, kind="stable")][: int((position < PER_CLASS).sum())][:MAX_PROXIES]


@torch.no_grad()
def _move_to_means(part: ProxyLoss, sums: Tensor) -> None:
    """Proxies as long as they were, in the direction of the sums; those of one class a little apart."""
    proxies = part.proxies.view(part.num_classes, part.centers, part.dim)
    noise = CENTER_NOISE * F.normalize(proxies, dim=2) if part.centers > 1 else 0.0
    moved = F.normalize(F.normalize(sums)[:, None].to(proxies) + noise, dim=2) * proxies.norm(
        dim=2, keepdim=True
    )
    has_images = (sums != 0).any(dim=1).to(proxies.device)
    proxies[has_images] = moved[has_images]


def _vectors(
    model: EmbeddingModel, through: Callable[[Tensor], Tensor], table: Table, rows: np.ndarray, workers: int
) -> tuple[np.ndarray, Tensor]:
    """The rows that could be read, and what the model makes of them, [N, D] in float64."""
    images = ImageTable(table, model.transform(), at_least=model.transform().at_least)
    loader = DataLoader(Subset(images, rows.tolist()), 64, num_workers=workers, collate_fn=collate)
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        parts = [
            (batch.rows, through(batch.images.to(model.device)).double().cpu())
            for batch in loader
            if len(batch.rows)
        ]
    model.train(was_training)
    if not parts:
        return np.empty(0, dtype=np.int64), torch.empty(0, 1)
    return torch.cat([rows_read for rows_read, _ in parts]).numpy(), torch.cat(
        [vectors for _, vectors in parts]
    ).clone()


def _principal(features: Tensor, dim: int) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, the `dim` strongest directions [dim, features], and the standard deviation along each."""
    mean = features.mean(0)
    variance, directions = torch.linalg.eigh(torch.cov((features - mean).T))
    variance, directions = variance.flip(0)[:dim], directions.flip(1)[:, :dim]
    spread = variance.clamp_min(FLOOR * variance[0].clamp_min(1e-12)).sqrt()
    return mean.float(), directions.T.float(), spread.float()
