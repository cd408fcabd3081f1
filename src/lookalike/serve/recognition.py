"""Endpoints that recognise: identify, search, verify, embed."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from fastapi import APIRouter, Request

from lookalike.data.decode import Box
from lookalike.evaluation.verify import judge_similarity
from lookalike.metrics.inputs import cosine_of
from lookalike.search.identify import judge_encounter, judge_photos
from lookalike.serve import openapi, schemas
from lookalike.serve.answers import (
    box_values,
    hit_values,
    identification_values,
    nobody_values,
    pair_words,
    problem_values,
    subject_values,
)
from lookalike.serve.errors import ApiError
from lookalike.serve.form import Form, Upload, read_form
from lookalike.serve.gallery import Enrolled
from lookalike.serve.guard import may_write
from lookalike.serve.requests import parse_box, parse_flag, parse_fraction, parse_number, service_of
from lookalike.serve.service import Embedded, Service

router = APIRouter()
MOST_HITS = 100


@router.post("/identify", response_model=None, **openapi.IDENTIFY)
async def identify(request: Request) -> list[dict[str, Any]]:
    """Who each photo shows: an enrolled identity, someone new, or that it cannot tell."""
    service = service_of(request)
    form = await read_form(request, service.limits)
    k, encounter = parse_number(form, "k", 5, MOST_HITS), parse_flag(form, "encounter")
    subjects, problems = await _embed_all(service, form)
    enrolled = await service.gallery.fresh()
    if encounter:
        return [
            await _encounter(service, enrolled, subjects, k, await _keep_subjects(request, form, subjects)),
            *problems.values(),
        ]
    judged = await _judge(service, enrolled, subjects, k)
    for values in judged:
        service.metrics.answers.labels(values["answer"]).inc()
    kept = await _keep_subjects(request, form, subjects)
    entries = [
        {**subject_values(subject), "upload": upload, **values}
        for subject, upload, values in zip(subjects, kept, judged, strict=True)
    ]
    return _in_order(entries, problems)


async def _judge(
    service: Service, enrolled: Enrolled, subjects: Sequence[Embedded], k: int
) -> list[dict[str, Any]]:
    if not enrolled.photos:
        return [_nobody(service) for _ in subjects]
    point = await service.gallery.point(enrolled)
    results = await _find(service, enrolled, subjects, k, by="label")
    return [
        identification_values(each, enrolled, service.pair_point) for each in judge_photos(results, point, k)
    ]


async def _encounter(
    service: Service, enrolled: Enrolled, subjects: Sequence[Embedded], k: int, kept: Sequence[str | None]
) -> dict[str, Any]:
    """One answer for all photos, each of which has to show one subject."""
    if len({subject.position for subject in subjects}) < len(subjects):
        raise ApiError(
            "bad_request",
            "encounter=true: a photo shows several subjects; ask about the photos one by one, or mark one "
            "with box=x1,y1,x2,y2",
        )
    if not enrolled.photos:
        values = _nobody(service)
    else:
        point = await service.gallery.point(enrolled, len(subjects))
        results = await _find(service, enrolled, subjects, len(enrolled.photos), by="label")
        values = identification_values(judge_encounter(results, point, k), enrolled, service.pair_point)
    service.metrics.answers.labels(values["answer"]).inc()
    names = [subject.photo.name for subject in subjects]
    return {**subject_values(subjects[0]), "image": names, "upload": list(kept), **values}


def _nobody(service: Service) -> dict[str, Any]:
    nobody = {"answer": "new", "identity": None, "score": None, "words": None}
    return {**nobody, **nobody_values(service.gallery.fpir), "hits": []}


@router.post("/search", response_model=None, **openapi.SEARCH)
async def search(request: Request) -> list[dict[str, Any]]:
    """The nearest enrolled photos, or identities, of each photo."""
    service = service_of(request)
    form = await read_form(request, service.limits)
    k, by = parse_number(form, "k", 5, MOST_HITS), form.text("by") or "image"
    if by not in ("image", "label"):
        raise ApiError("bad_request", f"by={by[:40]}: must be image or label")
    subjects, problems = await _embed_all(service, form)
    enrolled = await service.gallery.fresh()
    pair = service.pair_point
    results = await _find(service, enrolled, subjects, k, by)
    unjudged = {"likely": None} if pair is None else {}
    kept = await _keep_subjects(request, form, subjects)
    entries = [
        {
            **subject_values(subject),
            "upload": upload,
            "hits": [
                {**hit_values(hit, enrolled, pair_words(hit.similarity, pair)), **unjudged} for hit in hits
            ],
            "likely": None if pair is None else any(hit.likely for hit in hits[:1]),
        }
        for subject, upload, hits in zip(subjects, kept, results, strict=True)
    ]
    return _in_order(entries, problems)


@router.post("/verify", response_model=schemas.Verified, **openapi.VERIFY)
async def verify(request: Request) -> dict[str, Any]:
    """Whether two photos show the same identity."""
    service = service_of(request)
    form = await read_form(request, service.limits)
    first, second = form.photos("image", "first"), form.photos("image_b", "second")
    if len(first) == 2 and not second:
        first, second = first[:1], first[1:]
    if len(first) != 1 or len(second) != 1:
        raise ApiError("bad_request", "send two photos, in the fields image and image_b")
    threshold = parse_fraction(form, "threshold")
    if threshold is None and service.pair_point is None:
        raise ApiError(
            "no_threshold", f"{service.no_pair_point}; send a threshold of your own: threshold=0.6"
        )
    one = await service.embed_one(first[0], parse_box(form.text("box")))
    other = await service.embed_one(second[0], parse_box(form.text("box_b")))
    verdict = judge_similarity(cosine_of(one.vector, other.vector), threshold, service.pair_point)
    words = {"same": "very similar", "cannot tell": "similar", "different": "not similar"}
    low_high = None if verdict.threshold_low is None else [verdict.threshold_low, verdict.threshold_high]
    return {
        "answer": verdict.answer,
        "similarity": round(verdict.similarity, 6),
        "threshold": verdict.threshold,
        "cannot_tell_between": low_high,
        "far": verdict.far,
        "images": [one.photo.name, other.photo.name],
        "boxes": [box_values(one.subject.box), box_values(other.subject.box)],
        "words": words[verdict.answer],
    }


@router.post("/embed", response_model=schemas.Vectors, **openapi.EMBED)
async def embed(request: Request) -> dict[str, Any]:
    """The vectors of photos, for searches elsewhere; compare only vectors of the same space."""
    service = service_of(request)
    form = await read_form(request, service.limits)
    subjects, problems = await _embed_all(service, form)
    return {
        "space": service.space,
        "dim": len(subjects[0].vector),
        "vectors": [[round(float(value), 7) for value in subject.vector] for subject in subjects],
        "images": [subject_values(subject) for subject in subjects],
        "problems": list(problems.values()),
    }


async def _embed_all(service: Service, form: Form) -> tuple[list[Embedded], dict[int, dict[str, Any]]]:
    """The subjects of all photos, and the photos without any, by position.

    Raises:
        ApiError: there is no subject at all.
    """
    uploads = form.photos("image", "file")
    subjects, photos = await service.embed(uploads, _boxes(form, uploads))
    problems = dict(problem_values(photos))
    if not subjects:
        raise next(photo.error for photo in photos if photo.error is not None)
    return subjects, problems


async def _find(
    service: Service,
    enrolled: Enrolled,
    subjects: Sequence[Embedded],
    k: int,
    by: str,
) -> Any:
    """The hits of each subject; `likely` is by the threshold for pairs."""
    threshold = 1.0 if service.pair_point is None else service.pair_point.threshold
    vectors = np.stack([subject.vector for subject in subjects])
    if not enrolled.ids:
        return [[] for _ in subjects]
    return await service.run(lambda: enrolled.index.search(vectors, k, by=by, threshold=threshold))  # type: ignore[arg-type]


async def _keep_subjects(request: Request, form: Form, subjects: Sequence[Embedded]) -> list[str | None]:
    """Ids of the subjects, if the client wants them and may enrol."""
    service: Service = request.app.state.service
    if not (parse_flag(form, "keep") and service.gallery.is_writable and may_write(request, service.access)):
        return [None] * len(subjects)
    return [await service.keep(subject) for subject in subjects]


def _in_order(entries: list[dict[str, Any]], problems: dict[int, dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted([*entries, *problems.values()], key=lambda entry: entry["photo"])


def _boxes(form: Form, uploads: Sequence[Upload]) -> list[Box | None]:
    box = parse_box(form.text("box"))
    if box is not None and len(uploads) != 1:
        raise ApiError("bad_request", f"box is a part of one photo, and {len(uploads)} were sent")
    return [box] * len(uploads)
