"""The ROC curve of vectors by the rules of an evaluation."""

from typing import TYPE_CHECKING

from lookalike.errors import DataError

if TYPE_CHECKING:
    from lookalike.embeddings import Embeddings
    from lookalike.evaluation.protocols.base import Rules
    from lookalike.metrics.roc import Roc
    from lookalike.report.read import Evaluation


def evaluation_rules(evaluation: "Evaluation | None") -> "Rules":
    """The protocol of an evaluation; every image among all others without one."""
    from lookalike.config import build
    from lookalike.evaluation.protocols.retrieval import SelfRetrieval

    node = evaluation.config.get("protocol") if evaluation else None
    return build(node, "protocol") if node else SelfRetrieval()


def roc_by(rules: "Rules", embeddings: "Embeddings", seed: int, progress: bool) -> "Roc":
    """The curve over all pairs that the rules look at.

    Raises:
        DataError: there are pairs of one kind only.
    """
    from lookalike.evaluation.protocols.base import Samples
    from lookalike.evaluation.roc import protocol_roc
    from lookalike.metrics.inputs import exact_vectors, factorise

    names, codes = factorise(embeddings.table.labels, len(embeddings))
    samples = Samples(exact_vectors(embeddings.vectors), codes, names, embeddings.table.frame)
    try:
        return protocol_roc(rules.parts(samples), seed, progress=progress)
    except ValueError as error:
        raise DataError(str(error)) from error
