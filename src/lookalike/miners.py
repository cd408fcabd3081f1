"""Miners: functions that narrow the masks of positive and negative pairs.

`miner(sim [B, R], positive [B, R], negative [B, R]) -> (positive, negative)`. Any pair loss takes one as
`miner=`; in a config it is one line: `miner: {_target_: lookalike.miners.multi_similarity, _partial_: true}`.
"""

from typing import Literal, get_args

import torch
from torch import Tensor

from lookalike.errors import check_finite

INFINITY = float("inf")

Negatives = Literal["semi_hard", "hard", "all"]


def keep_all(sim: Tensor, positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor]:
    """Keep every pair, for losses with a default miner."""
    return positive, negative


def multi_similarity(
    sim: Tensor, positive: Tensor, negative: Tensor, epsilon: float = 0.1
) -> tuple[Tensor, Tensor]:
    """Keep the informative pairs of each row (Wang et al., 2019, arXiv:1904.06627, section 4.1).

    A negative stays if it is more similar than the least similar positive minus `epsilon`, a positive if it
    is less similar than the most similar negative plus `epsilon`. An anchor without positives or without
    negatives keeps nothing on either side.
    """
    check_finite("multi_similarity", epsilon=epsilon)
    lowest = sim.masked_fill(~positive, INFINITY).amin(dim=1, keepdim=True)
    highest = sim.masked_fill(~negative, -INFINITY).amax(dim=1, keepdim=True)
    return positive & (sim < highest + epsilon), negative & (sim > lowest - epsilon)


def hardest(sim: Tensor, positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor]:
    """Keep each anchor's least similar positive and most similar negative; of equal ones the first."""
    return positive & _least_in_row(sim, positive), negative & _least_in_row(-sim, negative)


def semi_hard(sim: Tensor, positive: Tensor, negative: Tensor, margin: float = 0.2) -> tuple[Tensor, Tensor]:
    """Keep the pairs that are in a semi-hard triplet (Schroff et al., 2015, arXiv:1503.03832, section 3.2).

    A triplet is semi-hard if its negative is less similar than its positive, but by less than `margin`, in
    units of the cosine. These are the pairs of pytorch-metric-learning's TripletMarginMiner with `semihard`
    and its CosineSimilarity distance. A negative for each positive pair is `mining=semi_hard` of `Triplet`.
    """
    check_finite("semi_hard", margin=margin)
    max_positives = int(positive.sum(dim=1).max()) if positive.numel() else 0
    values, columns = sim.masked_fill(~positive, -INFINITY).topk(max_positives, dim=1)
    kept_positive, kept_negative = torch.zeros_like(positive), torch.zeros_like(negative)
    for column in range(max_positives):
        value = values[:, column : column + 1]
        inside = negative & (sim < value) & (sim > value - margin)
        kept_negative |= inside
        kept_positive.scatter_(1, columns[:, column : column + 1], inside.any(dim=1, keepdim=True))
    return kept_positive, kept_negative


def easy_positive(
    sim: Tensor, positive: Tensor, negative: Tensor, negatives: Negatives = "semi_hard"
) -> tuple[Tensor, Tensor]:
    """Keep each anchor's most similar positive (Xuan et al., 2020, arXiv:1904.04370).

    An image need not be close to all images of its class, so that a class may have several modes. An anchor
    without a positive or a negative keeps nothing.

    Args:
        sim: cosine, [B, R].
        positive: mask, [B, R].
        negative: mask, [B, R].
        negatives: semi_hard, the most similar negative that is less similar than the positive; hard, the
            most similar negative; all.

    Raises:
        ValueError: if `negatives` is none of these.
    """
    if negatives not in get_args(Negatives):
        allowed = ", ".join(get_args(Negatives))
        raise ValueError(f"easy_positive negatives {negatives!r}: negatives must be one of {allowed}")
    positive = positive & _least_in_row(-sim, positive)
    if negatives == "semi_hard":
        negative = negative & (sim < sim.masked_fill(~positive, -INFINITY).amax(dim=1, keepdim=True))
    if negatives != "all":
        negative = negative & _least_in_row(-sim, negative)
    both = positive.any(dim=1, keepdim=True) & negative.any(dim=1, keepdim=True)
    return positive & both, negative & both


def distance_weighted(
    sim: Tensor,
    positive: Tensor,
    negative: Tensor,
    dim: int = 128,
    cutoff: float = 0.5,
    nonzero_cutoff: float = 1.4,
) -> tuple[Tensor, Tensor]:
    """Keep random negatives, as many for each anchor as it has positives (Wu et al., 2017, arXiv:1706.07567).

    All distances are equally likely: a negative at Euclidean distance d is sampled with weight `1 / q(d)`,
    where `q(d) ∝ d^(dim - 2) (1 - d²/4)^((dim - 3) / 2)` is the density of d between uniform points on the
    sphere. All positives are kept. Sampling is without replacement and uses torch's generator; the paper and
    pytorch-metric-learning's DistanceWeightedMiner sample with replacement.

    Args:
        sim: cosine, [B, R].
        positive: mask, [B, R].
        negative: mask, [B, R].
        dim: embedding dimension.
        cutoff: nearer negatives are weighted as if they were at this distance.
        nonzero_cutoff: farther negatives are never sampled; an anchor that has no others gets none, where the
            official code samples any.
    """
    check_finite("distance_weighted", dim=dim, cutoff=cutoff, nonzero_cutoff=nonzero_cutoff)
    squared = (2 - 2 * sim).clamp(cutoff**2, 4 - 1e-6)
    log_weight = (2 - dim) / 2 * squared.log() + (3 - dim) / 2 * torch.log1p(-squared / 4)
    # by column, so that the samples of the batch do not depend on the size of a memory
    uniform = torch.rand(sim.T.shape, dtype=sim.dtype, device=sim.device).T.clamp_min(1e-30)
    score = log_weight - (-uniform.log()).log()  # the largest scores are a sample without replacement
    score = score.masked_fill(~negative | (squared >= nonzero_cutoff**2), -INFINITY)
    count = positive.sum(dim=1, keepdim=True)
    best, columns = score.topk(int(count.max()) if count.numel() else 0, dim=1)
    sampled = (torch.arange(best.shape[1], device=sim.device) < count) & (best > -INFINITY)
    return positive, torch.zeros_like(negative).scatter_(1, columns, sampled)


def _least_in_row(values: Tensor, mask: Tensor) -> Tensor:
    """A mask with one true entry per row: the first smallest value within the given mask."""
    column = values.masked_fill(~mask, INFINITY).argmin(dim=1, keepdim=True)
    return torch.zeros_like(mask).scatter_(1, column, True)
