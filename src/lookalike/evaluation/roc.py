"""The ROC curve of a protocol."""

from collections.abc import Sequence
from functools import partial

import torch

from lookalike.evaluation.pair_blocks import identity_counts
from lookalike.evaluation.protocol_result import rank_parts
from lookalike.evaluation.protocols.base import TaskPart
from lookalike.metrics.roc import Roc, rate_grid, roc_with_intervals


def protocol_roc(
    parts: Sequence[TaskPart], seed: int = 0, device: str | torch.device | None = None, progress: bool = False
) -> Roc:
    """The curve over all pairs of the parts, with intervals by bootstrap over identities.

    Raises:
        ValueError: pairs of one kind only.
    """
    rates = rate_grid(sum(map(pairs_of, parts)))
    ranked = rank_parts(parts, {}, neighbours=0, depth=0, fars=rates, device=device, progress=progress)
    return roc_with_intervals(ranked.pairs, rates, partial(identity_counts, parts, seed=seed), seed)


def pairs_of(part: TaskPart) -> int:
    """How many pairs a comparison has, those that the protocol ignores included."""
    queries, gallery = len(part.queries), len(part.gallery)
    return queries * (queries - 1) // 2 if part.task.self_retrieval else queries * gallery
