"""Centre orthogonality regulariser."""

import torch
from torch import Tensor, nn

from lookalike.losses._base import UNKNOWN, check_batch, cosine, mean_over
from lookalike.losses._cosine import unit

SHORT = 0.1
"""Length below which a class mean counts as having no direction."""


class CenterOrthogonality(nn.Module):
    """Push the centres of the classes of a batch to right angles (with batch means in place of proxies; after
    Orthogonal Projection Loss, Ranasinghe et al., 2021, arXiv:2103.14021, which has pairs of images).

    `mean cos²(m_c, m_d)` over all pairs of different classes of the batch, with m_c the mean of the unit
    vectors of class c. Unlike `GOR`, where the cosines of all pairs may cancel out, each pair of classes
    counts for itself. Zero requires no more classes in a batch than the embedding has dimensions. A mean
    shorter than 0.1, of images that point everywhere, counts for less, so that its gradient stays small.
    Images of unknown class (-1) are left out. A regulariser: add it to another loss.

    Attributes:
        uses_length: false; only directions matter.
    """

    uses_length = False

    def __init__(self) -> None:
        super().__init__()

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Loss of raw embeddings [B, D] with labels [B]; zero where there is one class or none."""
        labels = check_batch("CenterOrthogonality", embeddings, labels)
        is_known = labels != UNKNOWN
        with torch.autocast(embeddings.device.type, enabled=False):
            vectors = unit(embeddings[is_known])
            classes, class_index = labels[is_known].unique(return_inverse=True)
            sums = vectors.new_zeros(len(classes), vectors.shape[1]).index_add(0, class_index, vectors)
            centers = sums / class_index.bincount(minlength=len(classes))[:, None]
            sure = (torch.linalg.vector_norm(centers, dim=1) / SHORT).clamp_max(1)
            different = ~torch.eye(len(classes), dtype=torch.bool, device=labels.device)
            return mean_over((cosine(centers, centers) * sure[:, None] * sure).square(), different)
