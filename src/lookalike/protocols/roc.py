"""The ROC curve of a protocol."""

from collections.abc import Sequence
from functools import partial

import torch

from lookalike.metrics.roc import Roc, rates_of, roc_of
from lookalike.protocols.base import Part
from lookalike.protocols.found import compare_parts
from lookalike.protocols.pair_blocks import identity_counts


def roc_over(
    parts: Sequence[Part], seed: int = 0, device: str | torch.device | None = None, progress: bool = False
) -> Roc:
    """The curve over all pairs of the parts, with intervals by bootstrap over identities.

    Raises:
        ValueError: pairs of one kind only.
    """
    rates = rates_of(sum(map(pairs_of, parts)))
    found = compare_parts(parts, {}, neighbours=0, depth=0, fars=rates, device=device, progress=progress)
    return roc_of(found.pairs, rates, partial(identity_counts, parts, seed=seed), seed)


def pairs_of(part: Part) -> int:
    """How many pairs a comparison has, those that the protocol ignores included."""
    queries, gallery = len(part.queries), len(part.gallery)
    return queries * (queries - 1) // 2 if part.sides.itself else queries * gallery
