"""What a service answers, as plain values for JSON."""

from collections.abc import Sequence
from functools import partial
from pathlib import PurePosixPath
from typing import Any

from lookalike.evaluation.identification import IdentificationPoint
from lookalike.evaluation.operating_point import OperatingPoint
from lookalike.search.hits import Hit
from lookalike.search.identify import Identification
from lookalike.serve.gallery import Enrolled
from lookalike.serve.photos import Photo
from lookalike.serve.service import Embedded

PARTS = 3
"""Parts of a path that clients see: enough to find the file, without the folders of the computer."""


def point_values(point: IdentificationPoint) -> dict[str, Any]:
    """The threshold of identification and its rate."""
    return {
        "threshold": point.threshold,
        "unsure_between": [point.threshold_low, point.threshold_high],
        "fpir": point.fpir,
        "fpir_interval": [point.fpir_low, point.fpir_high],
        "fpir_requested": point.requested,
        "extrapolated": point.extrapolated,
    }


def nobody_values(fpir: float) -> dict[str, Any]:
    """The same for an empty index, in which everybody is new."""
    return {
        "threshold": None,
        "unsure_between": None,
        "fpir": fpir,
        "fpir_interval": None,
        "fpir_requested": fpir,
        "extrapolated": False,
    }


def subject_values(subject: Embedded) -> dict[str, Any]:
    """Where a subject is."""
    width, height = subject.photo.size
    return {
        "image": subject.photo.name,
        "photo": subject.position,
        "width": width,
        "height": height,
        "box": box_values(subject.subject.box),
    }


def box_values(box: Sequence[float] | None) -> list[float] | None:
    """A box, x1 y1 x2 y2, to a hundredth of a pixel."""
    return None if box is None else [round(float(value), 2) for value in box]


def hit_values(hit: Hit, enrolled: Enrolled, words: str | None) -> dict[str, Any]:
    """A hit, with the address of its picture."""
    entry = enrolled.ids[hit.row]
    path = PurePosixPath(str(enrolled.index.table.frame["path"][hit.row]))
    parts = [part for part in path.parts if part not in ("..", "/")]
    return {
        "label": hit.label,
        "score": round(hit.similarity, 6),
        "path": "/".join(parts[-PARTS:]),
        "box": box_values(hit.box),
        "words": words,
        "id": entry,
        "picture": f"/pictures/{entry}",
        "likely": hit.likely,
    }


def identification_values(
    answer: Identification, enrolled: Enrolled, pair: OperatingPoint | None
) -> dict[str, Any]:
    """An answer, its threshold, and its hits."""
    words = partial(identity_words, point=answer.point, pair=pair)
    return {
        "answer": answer.answer,
        "identity": answer.identity,
        "score": round(answer.similarity, 6),
        "words": words(answer.similarity),
        **point_values(answer.point),
        "hits": [hit_values(hit, enrolled, words(hit.similarity)) for hit in answer.hits],
    }


def problem_values(photos: Sequence[Photo]) -> list[tuple[int, dict[str, Any]]]:
    """The photos without an answer, with their positions."""
    return [
        (position, {"image": photo.name, "photo": position, "error": photo.error.to_dict()})
        for position, photo in enumerate(photos)
        if photo.error is not None
    ]


def identity_words(score: float, point: IdentificationPoint, pair: OperatingPoint | None) -> str:
    """A similarity in words, by the threshold of identification, and below it by that for pairs."""
    if score >= point.threshold_high:
        return "very similar"
    if score >= point.threshold_low:
        return "similar"
    return "somewhat similar" if pair is not None and score >= pair.threshold_low else "not similar"


def pair_words(score: float, pair: OperatingPoint | None) -> str | None:
    """A similarity in words, by the threshold for pairs; None without one."""
    if pair is None:
        return None
    if score >= pair.threshold_high:
        return "very similar"
    return "similar" if score >= pair.threshold_low else "not similar"
