"""Miners: functions that narrow the masks of positive and negative pairs.

`miner(sim [B, R], positive [B, R], negative [B, R]) -> (positive, negative)`. Any pair loss takes one as
`miner=`; in a config it is one line: `miner: {_target_: lookalike.miners.multi_similarity, _partial_: true}`.
"""

import torch
from torch import Tensor

INFINITY = float("inf")


def multi_similarity(
    sim: Tensor, positive: Tensor, negative: Tensor, epsilon: float = 0.1
) -> tuple[Tensor, Tensor]:
    """Keep the pairs that their row makes informative (Wang et al., 2019, arXiv:1904.06627, section 4.1).

    A negative stays if it is more similar than the least similar positive minus `epsilon`, a positive if it
    is less similar than the most similar negative plus `epsilon`. An anchor without positives or without
    negatives keeps nothing on either side.
    """
    lowest = sim.masked_fill(~positive, INFINITY).amin(dim=1, keepdim=True)
    highest = sim.masked_fill(~negative, -INFINITY).amax(dim=1, keepdim=True)
    return positive & (sim < highest + epsilon), negative & (sim > lowest - epsilon)


def hardest(sim: Tensor, positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor]:
    """Keep each anchor's least similar positive and most similar negative; of equal ones the first."""
    furthest = sim.masked_fill(~positive, INFINITY).argmin(dim=1, keepdim=True)
    nearest = sim.masked_fill(~negative, -INFINITY).argmax(dim=1, keepdim=True)
    chosen = torch.zeros_like(positive)
    return positive & chosen.scatter(1, furthest, True), negative & chosen.scatter(1, nearest, True)
