"""VICReg loss."""

import torch
from torch import Tensor

from lookalike.errors import check_finite
from lookalike.losses._base import UNKNOWN, PairLoss, check_batch
from lookalike.losses._cosine import Product
from lookalike.losses._tuplets import check_positive


class VICReg(PairLoss):
    """Invariance, variance and covariance of the raw embeddings (Bardes et al., 2022, arXiv:2105.04906).

    `invariance * mean (a - b)²` over positive pairs and dimensions, plus
    `variance * mean max(0, 1 - √(var + epsilon))` over dimensions, plus
    `covariance * Σ cov² / D` over pairs of different dimensions, with the variances and
    covariances of the batch. Images of one class take the place of the paper's two views of one image;
    negatives do not occur. The other two terms keep the embeddings from collapsing. Images of unknown class
    (-1) are left out.

    pytorch-metric-learning's VICRegLoss takes the two views as two matrices. It is equal if these have the
    same variance and covariance, such as one matrix in two orders, with `covariance` twice its covariance_v,
    as it adds that term once for each view.

    Args:
        invariance: weight of the distance of positive pairs, at least 0.
        variance: weight of the standard deviation, which should reach 1, at least 0.
        covariance: weight of the correlation of dimensions, at least 0.
        epsilon: added to the variance before the root, above 0.
    """

    uses_length = True

    def __init__(
        self,
        invariance: float = 25.0,
        variance: float = 25.0,
        covariance: float = 2.0,
        epsilon: float = 1e-4,
    ) -> None:
        weights = {"invariance": invariance, "variance": variance, "covariance": covariance}
        check_finite("VICReg", epsilon=epsilon, **weights)
        super().__init__()
        check_positive("VICReg", "epsilon", epsilon)
        for name, value in weights.items():
            if value < 0:
                raise ValueError(f"VICReg {name} {value}: {name} must be at least 0")
        self.invariance, self.variance, self.covariance = invariance, variance, covariance
        self.epsilon = epsilon

    def forward(
        self, embeddings: Tensor, labels: Tensor, extra: tuple[Tensor, Tensor] | None = None
    ) -> Tensor:
        """Loss of a batch, as `PairLoss.forward`."""
        labels = check_batch("VICReg", embeddings, labels)
        embeddings = embeddings.to(torch.promote_types(embeddings.dtype, torch.float32))
        vectors, names = embeddings, labels
        if extra is not None:
            vectors = torch.cat([embeddings, extra[0].to(embeddings.dtype)])
            names = torch.cat([labels, check_batch("VICReg", *extra)])
        same = labels[:, None] == names
        same = same.fill_diagonal_(False) & (labels != UNKNOWN)[:, None]
        known = vectors[names != UNKNOWN]
        with torch.autocast(embeddings.device.type, enabled=False):
            rows, columns = same.nonzero(as_tuple=True)
            squared = (embeddings[rows] - vectors[columns]).square().sum()
            value = self.invariance * squared / max(1, len(rows) * embeddings.shape[1])
            return value + self.spread(known) if len(known) > 1 else value + 0 * embeddings.sum()

    def spread(self, vectors: Tensor) -> Tensor:
        """The variance and covariance terms of at least two vectors [N, D]."""
        centered = vectors - vectors.mean(dim=0)
        covariance = Product.apply(centered.T, centered.T) / (len(vectors) - 1)
        deviation = (covariance.diagonal() + self.epsilon).sqrt()
        correlation = (covariance - covariance.diagonal().diag()).square().sum() / vectors.shape[1]
        return self.variance * (1 - deviation).relu().mean() + self.covariance * correlation
