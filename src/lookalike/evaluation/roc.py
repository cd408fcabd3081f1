"""The ROC curve of a protocol."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch

from lookalike.embeddings import Embeddings
from lookalike.errors import DataError
from lookalike.evaluation.arguments import rules_of_node
from lookalike.evaluation.pair_blocks import identity_counts
from lookalike.evaluation.protocol_result import rank_parts
from lookalike.evaluation.protocols.base import Rules, Samples, TaskPart
from lookalike.evaluation.protocols.retrieval import SelfRetrieval
from lookalike.metrics.inputs import exact_vectors, factorise
from lookalike.metrics.roc import Roc, rate_grid, roc_with_intervals


def protocol_roc(
    parts: Sequence[TaskPart], seed: int = 0, device: str | torch.device | None = None, progress: bool = False
) -> Roc:
    """The curve over all pairs of the parts, with intervals by bootstrap over identities.

    Raises:
        ValueError: there are only positive or only negative pairs.
    """
    rates = rate_grid(sum(map(pairs_of, parts)))
    ranked = rank_parts(parts, {}, neighbours=0, depth=0, fars=rates, device=device, progress=progress)
    return roc_with_intervals(ranked.pairs, rates, partial(identity_counts, parts, seed=seed), seed)


def evaluation_rules(config: Mapping[str, Any] | None) -> Rules:
    """The protocol in the config.yaml of an evaluation; every image against all others without one."""
    node = config.get("protocol") if config else None
    return rules_of_node(node) if node else SelfRetrieval()


def roc_by(rules: Rules, embeddings: Embeddings, seed: int, progress: bool) -> Roc:
    """The curve over all pairs that a protocol compares.

    Raises:
        DataError: there are only positive or only negative pairs.
    """
    names, codes = factorise(embeddings.table.labels, len(embeddings))
    samples = Samples(exact_vectors(embeddings.vectors), codes, names, embeddings.table.frame)
    try:
        return protocol_roc(rules.parts(samples), seed, progress=progress)
    except ValueError as error:
        raise DataError(str(error)) from error


def pairs_of(part: TaskPart) -> int:
    """Number of pairs of a part, including those that the protocol ignores."""
    queries, gallery = len(part.queries), len(part.gallery)
    return queries * (queries - 1) // 2 if part.task.self_retrieval else queries * gallery
