"""Miners: functions that narrow the masks of positive and negative pairs.

`miner(sim [B, R], positive [B, R], negative [B, R]) -> (positive, negative)`. Any pair loss takes one as
`miner=`; in a config it is one line: `miner: {_target_: lookalike.miners.multi_similarity, _partial_: true}`.
"""

import math
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


def pair_margin(
    sim: Tensor,
    positive: Tensor,
    negative: Tensor,
    positive_margin: float = 0.8,
    negative_margin: float = 0.2,
) -> tuple[Tensor, Tensor]:
    """Keep positives less similar than `positive_margin` and negatives more similar than `negative_margin`.

    Margins are cosines. Equal to pytorch-metric-learning's PairMarginMiner with its CosineSimilarity distance
    and the same margins; its default measures Euclidean distances.
    """
    check_finite("pair_margin", positive_margin=positive_margin, negative_margin=negative_margin)
    return positive & (sim < positive_margin), negative & (sim > negative_margin)


def hard_fraction(
    sim: Tensor, positive: Tensor, negative: Tensor, fraction: float = 0.5
) -> tuple[Tensor, Tensor]:
    """Keep the hardest pairs of the whole batch (Yuan et al., 2017, arXiv:1611.05720, HDC).

    These are the `fraction` of all positive pairs that are least similar and the `fraction` of all negative
    pairs that are most similar, rounded up. Equal to pytorch-metric-learning's HDCMiner; the order of equal
    similarities may differ.

    Raises:
        ValueError: if `fraction` is not above 0 and at most 1.
    """
    check_finite("hard_fraction", fraction=fraction)
    if not 0 < fraction <= 1:
        raise ValueError(f"hard_fraction fraction {fraction}: must be above 0 and at most 1")
    return _least_in_all(sim, positive, fraction), _least_in_all(-sim, negative, fraction)


def n_hardest(
    sim: Tensor, positive: Tensor, negative: Tensor, positives: int = 1, negatives: int = 5
) -> tuple[Tensor, Tensor]:
    """Keep each anchor's least similar positives and most similar negatives, as many as given.

    An anchor with fewer keeps all it has. With 1 and 1 the pairs are those of `hardest`.

    Raises:
        ValueError: if a number is not a whole number, at least 1.
    """
    for name, count in (("positives", positives), ("negatives", negatives)):
        if not isinstance(count, int) or count < 1:
            raise ValueError(f"n_hardest {name} {count}: {name} must be a whole number, at least 1")
    return _first_in_row(sim, positive, positives), _first_in_row(-sim, negative, negatives)


def angular(sim: Tensor, positive: Tensor, negative: Tensor, angle: float = 0.35) -> tuple[Tensor, Tensor]:
    """Keep the pairs in a triplet whose angle at the negative is above a bound (Wang et al., 2017,
    arXiv:1708.01682).

    The angle is `atan(|x_a - x_p| / (2 |x_n - c|))` with unit vectors and c the mean of anchor and positive.
    The pairs are those in the triplets of pytorch-metric-learning's AngularMiner (angle in degrees) on
    embeddings of unit length. Positives of a memory have no similarities among each other: they keep no pair.

    Args:
        sim: cosine, [B, R].
        positive: mask, [B, R].
        negative: mask, [B, R].
        angle: in radians, between 0 and π / 2.

    Raises:
        ValueError: if `angle` is out of range.
    """
    check_finite("angular", angle=angle)
    if not 0 < angle < math.pi / 2:
        raise ValueError(f"angular angle {angle}: an angle in radians, between 0 and {math.pi / 2:.4f}")
    kept_positive, kept_negative = torch.zeros_like(positive), torch.zeros_like(negative)
    for row, column in positive[:, : len(sim)].nonzero().tolist():
        # |x_a - x_p|² = 2 - 2 s_ap, and |x_n - c|² = 1 - (s_an + s_pn) + (1 + s_ap) / 2
        close = sim[row, column]
        to_center = 1.5 + close / 2 - sim[row] - sim[column]
        wide = negative[row] & ((2 - 2 * close).clamp_min(0) > 4 * math.tan(angle) ** 2 * to_center)
        kept_negative[row] |= wide
        kept_positive[row, column] = wide.any()
    return kept_positive, kept_negative


def uniform_histogram(
    sim: Tensor, positive: Tensor, negative: Tensor, bins: int = 100, per_bin: int = 10
) -> tuple[Tensor, Tensor]:
    """Keep random pairs, about as many at each distance.

    Euclidean distances on the unit sphere are divided into `bins` intervals of equal width between the least
    and the largest of the positive pairs, and of the negative pairs; each interval keeps up to `per_bin`
    pairs, drawn without replacement with torch's generator. pytorch-metric-learning's UniformHistogramMiner
    has the same intervals and draws with replacement, so that it repeats pairs.

    Raises:
        ValueError: if a number is not a whole number, at least 1.
    """
    for name, count in (("bins", bins), ("per_bin", per_bin)):
        if not isinstance(count, int) or count < 1:
            raise ValueError(f"uniform_histogram {name} {count}: {name} must be a whole number, at least 1")
    distance = (2 - 2 * sim).clamp_min(0).sqrt()
    return _uniform(distance, positive, bins, per_bin), _uniform(distance, negative, bins, per_bin)


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


def _least_in_all(values: Tensor, mask: Tensor, fraction: float) -> Tensor:
    """The fraction of the mask, rounded up, with the smallest values."""
    kept = torch.zeros_like(mask)
    rows, columns = mask.nonzero(as_tuple=True)
    index = values[rows, columns].topk(math.ceil(fraction * len(rows)), largest=False).indices
    kept[rows[index], columns[index]] = True
    return kept


def _first_in_row(values: Tensor, mask: Tensor, count: int) -> Tensor:
    """The `count` smallest values of each row within the mask."""
    columns = (
        values.masked_fill(~mask, INFINITY).topk(min(count, mask.shape[1]), dim=1, largest=False).indices
    )
    return torch.zeros_like(mask).scatter_(1, columns, True) & mask


def _uniform(distance: Tensor, mask: Tensor, bins: int, per_bin: int) -> Tensor:
    """Up to `per_bin` random entries of the mask from each interval of distances."""
    kept = torch.zeros_like(mask)
    rows, columns = mask.nonzero(as_tuple=True)
    if not len(rows):
        return kept
    order = torch.randperm(len(rows), device=mask.device)
    rows, columns = rows[order], columns[order]
    values = distance[rows, columns]
    low, high = values.aminmax()
    interval = ((values - low) / (high - low).clamp_min(1e-12) * bins).long().clamp(0, bins - 1)
    ordered, index = interval.sort(stable=True)
    counts = ordered.bincount(minlength=bins)
    position = torch.arange(len(index), device=mask.device) - (counts.cumsum(0) - counts)[ordered]
    index = index[position < per_bin]
    kept[rows[index], columns[index]] = True
    return kept
