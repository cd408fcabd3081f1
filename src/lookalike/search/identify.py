"""Who a photo shows: an enrolled identity, someone new, or that the photo cannot tell."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from lookalike.data.table import Table
from lookalike.errors import LookalikeError
from lookalike.evaluation.identification import Decision, IdentificationPoint, choose_identification_point
from lookalike.evaluation.validation_vectors import Collection, Validation, find_validation_vectors
from lookalike.search.hits import Hits


class Gallery(Collection, Protocol):
    """What is needed of an index."""

    @property
    def table(self) -> Table:
        """One row per enrolled photo."""
        ...


@dataclass(frozen=True)
class Identification:
    """The answer for a photo, or for the photos of one encounter.

    Attributes:
        answer: known, new, or unsure.
        identity: the label, if it is known.
        similarity: cosine similarity to the nearest identity; of an encounter, the mean over its photos.
        hits: the nearest identities, each with its nearest photo.
        images: files of the photos; None for what was not a file.
        point: the threshold, and how often strangers are given a name at it.
    """

    answer: Decision
    identity: str | int | None
    similarity: float
    hits: Hits
    images: tuple[str | None, ...]
    point: IdentificationPoint

    def __str__(self) -> str:
        """One line: answer, similarity, threshold, rate."""
        subject = f"{self.answer}: {self.identity}" if self.answer == "known" else self.answer
        nearest = f", nearest is {self.hits[0].label}" if self.answer == "unsure" and self.hits else ""
        return (
            f"{subject}{nearest}; similarity {self.similarity:.3f}, threshold {self.point.threshold:.3f}, "
            f"false positive identification rate {100 * self.point.fpir:.3g} %"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        point = self.point
        return {
            "image": self.images[0] if len(self.images) == 1 else list(self.images),
            "answer": self.answer,
            "identity": self.identity,
            "score": round(self.similarity, 6),
            "threshold": point.threshold,
            "unsure_between": [point.threshold_low, point.threshold_high],
            "fpir": point.fpir,
            "fpir_interval": [point.fpir_low, point.fpir_high],
            "fpir_requested": point.requested,
            "extrapolated": point.extrapolated,
            "hits": [
                {"label": hit.label, "score": round(hit.similarity, 6), "path": hit.path, "box": hit.box}
                for hit in self.hits
            ],
        }


def identification_point(
    index: Gallery, fpir: float, validation: Validation = None, probe_photos: int = 1
) -> IdentificationPoint:
    """The threshold at which at most `fpir` of strangers are given a name of this index.

    It is chosen anew for the present number of identities and photos.

    Args:
        index: the gallery.
        fpir: allowed share of strangers who are given a name.
        validation: identities that the model was not trained on; those in the model folder if None.
        probe_photos: photos of one encounter.

    Raises:
        LookalikeError: there are no validation vectors, or they are of another model.
        ValueError: there are too few validation identities, or an argument is out of range.
    """
    vectors, codes = find_validation_vectors(index, validation)
    photos = index.table.frame["label"].value_counts()["count"].to_numpy()
    if not len(photos):
        raise LookalikeError(f"{index.name}: is empty, so nobody can be identified; enrol someone first")
    return choose_identification_point(vectors, codes, photos, fpir, probe_photos)


def judge_photos(results: Sequence[Hits], point: IdentificationPoint, k: int) -> list[Identification]:
    """An answer for each photo, by its nearest identities."""
    return [_judge(hits, (hits.query,), point, k) for hits in results]


def judge_encounter(results: Sequence[Hits], point: IdentificationPoint, k: int) -> Identification:
    """One answer for all photos, by the mean over them of the similarity to each identity.

    Args:
        results: for each photo, every identity.
        point: for as many photos.
        k: hits that are kept.
    """
    return _judge(pool_hits(results), tuple(hits.query for hits in results), point, k)


def pool_hits(results: Sequence[Hits]) -> Hits:
    """The identities of several photos by mean similarity, nearest first, each with its nearest photo.

    An identity that was rejected for one of the photos is left out.
    """
    similarities: dict[Any, list[float]] = {}
    nearest: dict[Any, Any] = {}
    for hit in (hit for hits in results for hit in hits):
        similarities.setdefault(hit.label, []).append(hit.similarity)
        if hit.label not in nearest or nearest[hit.label].similarity < hit.similarity:
            nearest[hit.label] = hit
    means = {
        label: float(np.mean(values)) for label, values in similarities.items() if len(values) == len(results)
    }
    order = sorted(means, key=lambda label: -means[label])
    first = results[0]
    return Hits(
        (replace(nearest[label], similarity=means[label]) for label in order),
        first.table,
        first.query,
        first.threshold,
    )


def _judge(hits: Hits, images: tuple[str | None, ...], point: IdentificationPoint, k: int) -> Identification:
    similarity = hits[0].similarity if hits else -1.0  # all identities were rejected for this photo
    answer = point.answer(similarity)
    kept = Hits(
        (replace(hit, likely=point.answer(hit.similarity) == "known") for hit in hits[:k]),
        hits.table,
        hits.query,
        point.threshold,
    )
    return Identification(
        answer, hits[0].label if answer == "known" else None, similarity, kept, images, point
    )
