"""Endpoints that change the index: enrol, merge, split, undo, forget."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from fastapi import APIRouter, Request
from pydantic import BaseModel, ValidationError

from lookalike.errors import CONTROL
from lookalike.evaluation.operating_point import OperatingPoint
from lookalike.search.registry import Registry
from lookalike.serve import openapi, schemas
from lookalike.serve.errors import ApiError
from lookalike.serve.form import Form, read_form, read_json
from lookalike.serve.gallery import Enrolled
from lookalike.serve.photos import as_jpeg
from lookalike.serve.requests import decode_name, parse_box, writable_service
from lookalike.serve.service import Service
from lookalike.serve.thumbnails import forget_thumbnails

router = APIRouter()
LONGEST = 200
"""Characters of a name."""
AUTHOR = "service"


@router.post("/identities", status_code=201, response_model=schemas.Enrolment, **openapi.ENROL)
async def enrol_new(request: Request) -> dict[str, Any]:
    """Enrol photos of one identity; without a name it is called new-1, new-2, …."""
    service = writable_service(request)
    form = await read_form(request, service.limits)
    name = form.text("name")
    return await _enrol(service, form, None if name is None else checked_name(name))


@router.post("/identities/{name}", status_code=201, response_model=schemas.Enrolment, **openapi.ENROL_NAMED)
async def enrol(request: Request, name: str) -> dict[str, Any]:
    """Enrol photos of an identity, which may be new."""
    service = writable_service(request)
    label = checked_name(decode_name(name))
    return await _enrol(service, await read_form(request, service.limits), label)


@router.post("/identities/{name}/merge", response_model=schemas.Decided, **openapi.MERGE)
async def merge(request: Request, name: str) -> dict[str, int]:
    """Say that an identity is another one, or give it a new name."""
    service = writable_service(request)
    values = await _json(request, service, schemas.Merge)
    label, into = decode_name(name), checked_name(values.into)
    if label == into:
        raise ApiError("bad_request", "an identity cannot be merged into itself")
    return await _decide(
        service, lambda registry: registry.decide("merge", label, into, _author(values)), label
    )


@router.post("/identities/{name}/split", response_model=schemas.DecidedSplit, **openapi.SPLIT)
async def split(request: Request, name: str) -> dict[str, Any]:
    """Make photos of an identity a new identity; without a name it is called new-1, new-2, …."""
    service = writable_service(request)
    values = await _json(request, service, schemas.Split)
    label, into = decode_name(name), None if values.into is None else checked_name(values.into)
    photos = await _check_photos(service, label, values.photos)
    if into is None:
        into = await service.gallery.change(lambda registry: registry.next_unknown())
    decided = await _decide(
        service, lambda registry: registry.decide("split", photos, into, _author(values)), label
    )
    return {**decided, "name": into}


@router.post("/identities/{name}/same", response_model=schemas.Decided, **openapi.SAME)
async def same(request: Request, name: str) -> dict[str, int]:
    """Say that enrolled photos show this identity, which may be new; they are moved to it."""
    service = writable_service(request)
    values = await _json(request, service, schemas.Photos)
    label, author = checked_name(decode_name(name)), _author(values)
    photos = await _enrolled_photos(service, values.photos)
    return await _decide(service, lambda registry: registry.decide("same", photos, label, author))


@router.post(
    "/identities/{name}/different",
    response_model=schemas.Decided,
    **openapi.DIFFERENT,
)
async def different(request: Request, name: str) -> dict[str, int]:
    """Record that photos do not show an identity; they are not moved."""
    service = writable_service(request)
    values = await _json(request, service, schemas.Photos)
    label, author = decode_name(name), _author(values)
    photos = await _enrolled_photos(service, values.photos)
    return await _decide(service, lambda registry: registry.decide("different", photos, label, author), label)


@router.post("/undo", response_model=schemas.Decided, **openapi.UNDO)
async def undo(request: Request) -> dict[str, int]:
    """Take a decision back; photos that were moved again since then stay where they are."""
    service = writable_service(request)
    values = await _json(request, service, schemas.Undo)
    return await _decide(service, lambda registry: registry.undo(values.decision, _author(values)))


@router.delete("/identities/{name}", response_model=schemas.Removed)
async def forget(request: Request, name: str) -> dict[str, int]:
    """Forget an identity: its vectors, pictures, names and the decisions on it are deleted."""
    service = writable_service(request)
    label = decode_name(name)
    return await _forget(service, lambda registry: registry.forget(label))


@router.delete("/identities/{name}/photos/{photo}", response_model=schemas.Removed)
async def forget_photo(request: Request, name: str, photo: str) -> dict[str, int]:
    """Forget one photo of an identity."""
    service = writable_service(request)
    (entry,) = await _check_photos(service, decode_name(name), [photo])

    def remove(registry: Registry) -> int:
        registry.forget_photo(entry)
        return 1

    return await _forget(service, remove)


async def _enrol(service: Service, form: Form, name: str | None) -> dict[str, Any]:
    """Enrol the photos or kept uploads of a form."""
    kept = [service.uploads.get(each) for each in form.texts.get("upload", [])]
    vectors, pictures = [each.vector for each in kept], [each.picture for each in kept]
    uploads = form.photos("image", "file")
    if not uploads and not kept:
        raise ApiError("bad_request", "no photo was sent; put it into the field image, or an id into upload")
    if uploads:
        box = parse_box(form.text("box"))
        subjects, photos = await service.embed(uploads, [box] * len(uploads))
        problems = [photo.error for photo in photos if photo.error is not None]
        if problems:
            raise problems[0]  # all or none, so that nobody believes that a photo is enrolled
        largest = {subject.position: subject for subject in reversed(subjects)}
        for position in sorted(largest):
            vectors.append(largest[position].vector)
            pictures.append(await service.run(lambda each=largest[position]: as_jpeg(each.subject.picture())))
    matrix = np.stack(vectors)
    before = await service.gallery.fresh()
    warnings = await service.run(_resemblances, before, matrix, name, service.pair_point)
    identity, ids = await service.gallery.change(
        lambda registry: service.gallery.enrol(registry, name, matrix, pictures)
    )
    service.metrics.enrolled.inc(len(ids))
    already = [each for each in ids if each in before.rows]
    return {"name": identity, "photos": ids, "already": already, "warnings": warnings}


def _resemblances(
    enrolled: Enrolled, vectors: np.ndarray, name: str | None, pair: OperatingPoint | None
) -> list[str]:
    """A warning for each photo that the threshold of the model takes for another identity."""
    if not enrolled.ids or pair is None:
        return []
    texts = []
    results = enrolled.index.search(vectors, 2, by="label", threshold=pair.threshold)
    for number, hits in enumerate(results, 1):
        others = [hit for hit in hits if hit.label != name and hit.likely]
        if others:
            texts.append(
                f"photo {number} resembles {others[0].label} (similarity {others[0].similarity:.3f}); if "
                "they are the same, merge them"
            )
    return texts


async def _decide(
    service: Service, work: Callable[[Registry], int], label: str | None = None
) -> dict[str, int]:
    enrolled = await service.gallery.fresh()
    if label is not None and label not in enrolled.photos:
        raise ApiError("not_found", f"nobody is enrolled as {label}")
    return {"decision": await service.gallery.change(work)}


async def _forget(service: Service, work: Callable[[Registry], int]) -> dict[str, int]:
    count = await service.gallery.change(work)
    forget_thumbnails()
    service.metrics.forgotten.inc(count)
    return {"photos": count}


async def _enrolled_photos(service: Service, photos: Sequence[str]) -> list[str]:
    """Ids of photos, all of which have to be enrolled."""
    enrolled = await service.gallery.fresh()
    missing = [each for each in photos if each not in enrolled.rows]
    if missing or not photos:
        raise ApiError("not_found", f"there is no photo {', '.join(missing[:3])}")
    return list(photos)


async def _check_photos(service: Service, label: str, photos: Sequence[str]) -> list[str]:
    """Ids of photos, all of which have to be of an identity."""
    enrolled = await service.gallery.fresh()
    members = {enrolled.ids[row] for row in enrolled.photos.get(label, [])}
    missing = [each for each in photos if each not in members]
    if missing or not photos:
        raise ApiError("not_found", f"{label} has no photo {', '.join(missing[:3])}")
    return list(photos)


async def _json(request: Request, service: Service, model: type[BaseModel]) -> Any:
    """The JSON body, checked.

    Raises:
        ApiError: it is not as described.
    """
    try:
        return model.model_validate(await read_json(request, service.limits), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "body"
        raise ApiError("bad_request", f"{key}: {first['msg']}") from error


def checked_name(name: str) -> str:
    """A name for an identity.

    Raises:
        ApiError: it cannot be one.
    """
    name = name.strip()
    if not 1 <= len(name) <= LONGEST or CONTROL.search(name) or name in (".", ".."):
        raise ApiError(
            "bad_request", f"a name has 1 to {LONGEST} characters, no control characters, and is not . or .."
        )
    try:
        name.encode()
    except UnicodeEncodeError:
        raise ApiError("bad_request", "the name contains half of a surrogate pair") from None
    return name


def _author(values: Any) -> str:
    text = CONTROL.sub("", values.author or "").strip()[:LONGEST]
    return text or AUTHOR
