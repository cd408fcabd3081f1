"""N-pairs loss."""

import torch
from torch import Tensor

from lookalike.errors import check_finite
from lookalike.losses._base import Miner, PairLoss, check_batch, mean_over, relations
from lookalike.losses._tuplets import tuplet_mean


class NPairs(PairLoss):
    """Tell a positive from many negatives by raw inner products (Sohn, 2016, NeurIPS: N-pair loss).

    `log(1 + Σ_n exp(f_a·f_n - f_a·f_p))` with raw embeddings f, so their length matters: it is the sharpness
    of the softmax, and `l2` keeps it small as in the paper. The paper draws two images a class and takes the
    second images of the other classes as negatives. In a batch of P classes with K images here every positive
    pair counts, in both directions, against all (P - 1)·K negatives of its anchor (the paper's (N+1)-tuplet
    loss), so nothing depends on the order of the batch; mean over the positive pairs whose anchor has a
    negative. pytorch-metric-learning's NPairsLoss takes the first pair of each class; with a miner that keeps
    what it takes, and `l2` 0, the two are equal if it is built with `normalize_embeddings=False`: by default
    it brings embeddings to length one, and the paper does not. A zero vector has no direction and gets no
    gradient.

    Args:
        l2: weight of the mean squared length of the anchors that have a positive and a negative, at least 0.
        miner: narrows the pairs first; it sees cosine similarities.
    """

    uses_length = True

    def __init__(self, l2: float = 0.002, miner: Miner | None = None) -> None:
        check_finite("NPairs", l2=l2)
        super().__init__(miner)
        if not l2 >= 0:
            raise ValueError(f"NPairs l2 {l2}: a weight of at least 0")
        self.l2 = l2

    def forward(
        self, embeddings: Tensor, labels: Tensor, extra: tuple[Tensor, Tensor] | None = None
    ) -> Tensor:
        """Loss of a batch, as `PairLoss.forward`."""
        labels = check_batch("NPairs", embeddings, labels)
        with torch.autocast(embeddings.device.type, enabled=False):
            embeddings = embeddings.to(torch.promote_types(embeddings.dtype, torch.float32))
            sim, positive, negative = relations(embeddings, labels, extra)
            if self.miner is not None:
                positive, negative = self.miner(sim.detach(), positive, negative)
            length = others = embeddings.norm(dim=1)
            if extra is not None:
                others = torch.cat([length, extra[0].to(sim.dtype).norm(dim=1)])
            inner = sim * length[:, None] * others
            anchors = positive.any(dim=1) & negative.any(dim=1)
            short = self.l2 * mean_over(length.square(), anchors)
            return tuplet_mean(inner, inner, positive, negative) + short
