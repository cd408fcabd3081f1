"""The ROC curve of vectors by the rules of an evaluation."""

from typing import TYPE_CHECKING

from lookalike.errors import DataError

if TYPE_CHECKING:
    from lookalike.embeddings import Embeddings
    from lookalike.metrics.roc import Roc
    from lookalike.protocols.base import Rules
    from lookalike.report.read import Evaluation


def rules_of(evaluation: "Evaluation | None") -> "Rules":
    """The protocol of an evaluation; every image among all others without one."""
    from lookalike.config import build
    from lookalike.protocols.retrieval import SelfRetrieval

    node = evaluation.config.get("protocol") if evaluation else None
    return build(node, "protocol") if node else SelfRetrieval()


def roc_by(rules: "Rules", found: "Embeddings", seed: int, progress: bool) -> "Roc":
    """The curve over all pairs that the rules look at.

    Raises:
        DataError: there are pairs of one kind only.
    """
    from lookalike.metrics.inputs import exact_vectors, factorise
    from lookalike.protocols.base import Samples
    from lookalike.protocols.roc import roc_over

    names, codes = factorise(found.table.labels, len(found))
    samples = Samples(exact_vectors(found.vectors), codes, names, found.table.frame)
    try:
        return roc_over(rules.parts(samples), seed, progress=progress)
    except ValueError as error:
        raise DataError(str(error)) from error
