"""Embedding norm regulariser."""

import torch
from torch import Tensor, nn

from lookalike.errors import check_finite
from lookalike.losses._base import UNKNOWN, check_batch, mean_over


class EmbeddingNorm(nn.Module):
    """Keep the norms of the raw embeddings near a target (Zheng et al., 2018, arXiv:1803.00130, Ring loss).

    `mean (‖x‖ - target)²`. Other losses depend only on directions and let norms drift, which slows training
    down as they grow and makes half precision overflow. The paper learns the target and has half of this.
    With a target of 0 it is pytorch-metric-learning's LpRegularizer of power 2. Images of unknown class (-1)
    are left out; a zero vector, which has no direction to grow in, gets no gradient. A regulariser: add it to
    another loss.

    Args:
        target: length in the units of the embedding, at least 0.

    Attributes:
        uses_length: true.
        takes_mixed: true; classes do not matter.
    """

    uses_length = True
    takes_mixed = True

    def __init__(self, target: float = 10.0) -> None:
        check_finite("EmbeddingNorm", target=target)
        super().__init__()
        if target < 0:
            raise ValueError(f"EmbeddingNorm target {target}: target must be at least 0")
        self.target = target

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Loss of raw embeddings [B, D] with labels [B]."""
        labels = check_batch("EmbeddingNorm", embeddings, labels)
        vectors = embeddings.to(torch.promote_types(embeddings.dtype, torch.float32))
        length = torch.linalg.vector_norm(vectors, dim=1)
        return mean_over((length - self.target).square(), labels != UNKNOWN)
