"""Endpoints that show what is enrolled: facts, identities, decisions, pictures."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from lookalike.serve import openapi, schemas
from lookalike.serve.answers import point_values
from lookalike.serve.errors import ApiError
from lookalike.serve.gallery import UNKNOWN
from lookalike.serve.guard import may_write
from lookalike.serve.requests import decode_name, service_of
from lookalike.serve.thumbnails import THUMBNAIL, thumbnail
from lookalike.version import __version__

router = APIRouter()


@router.get("/info", response_model=schemas.Info)
async def info(request: Request) -> dict[str, Any]:
    """What the service recognises, how sure it is, and what it accepts."""
    service = service_of(request)
    enrolled = await service.gallery.fresh()
    point, reason = None, None
    if enrolled.photos:
        try:
            point = await service.gallery.point(enrolled)
        except ApiError as error:
            reason = error.message
    folder = enrolled.index.model_folder
    values = None if point is None else {**point_values(point), "text": str(point)}
    return {
        "index": service.name,
        "model": None if folder is None else "/".join(folder.parts[-2:]),
        "space": service.space,
        "images": len(enrolled.ids),
        "identities": len(enrolled.photos),
        "writable": service.gallery.is_writable,
        "may_write": service.gallery.is_writable and may_write(request, service.access),
        "token_needed": service.access.token is not None,
        "fpir": values,
        "no_threshold": reason,
        "threshold": None if service.pair_point is None else service.pair_point.threshold,
        "max_bytes": service.limits.max_bytes,
        "max_pixels": service.limits.max_pixels,
        "max_photos": service.limits.max_photos,
        "detect": service.detect,
        "version": __version__,
    }


@router.get("/identities", response_model=schemas.Identities)
async def identities(
    request: Request,
    query: Annotated[str, Query(max_length=200)] = "",
    unknown: Annotated[bool, Query()] = False,
    offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 50,
) -> dict[str, Any]:
    """The enrolled identities whose names contain a text, or only the unknown among them, sorted by name."""
    enrolled = await service_of(request).gallery.fresh()
    text = query.casefold()
    names = sorted((name for name in enrolled.photos if text in name.casefold()), key=_sort_key)
    if unknown:
        names = [name for name in names if UNKNOWN.fullmatch(name)]
    return {
        "total": len(names),
        "identities": [
            {
                "name": name,
                "photos": len(enrolled.photos[name]),
                "picture": f"/pictures/{enrolled.ids[enrolled.photos[name][0]]}",
                "unknown": UNKNOWN.fullmatch(name) is not None,
            }
            for name in names[offset : offset + limit]
        ],
    }


@router.get("/identities/{name}", response_model=schemas.Identity)
async def identity(request: Request, name: str) -> dict[str, Any]:
    """The photos of an identity."""
    enrolled, label = await service_of(request).gallery.fresh(), decode_name(name)
    rows = enrolled.photos.get(label)
    if rows is None:
        raise ApiError("not_found", f"nobody is enrolled as {label}")
    return {
        "name": label,
        "unknown": UNKNOWN.fullmatch(label) is not None,
        "photos": [
            {
                "id": enrolled.ids[row],
                "picture": f"/pictures/{enrolled.ids[row]}",
                "added": enrolled.added[row],
            }
            for row in rows
        ],
    }


@router.get("/decisions", response_model=list[schemas.Decision])
async def decisions(
    request: Request, limit: Annotated[int, Query(ge=1, le=1000)] = 50
) -> list[dict[str, Any]]:
    """Who decided what, the newest first."""
    every = await service_of(request).gallery.read(lambda registry: registry.decisions()) or []
    undone = {each.undoes for each in every}
    return [
        {**vars(each), "can_undo": each.kind != "undo" and each.id not in undone}
        for each in reversed(every[-limit:])
    ]


@router.get("/pictures/{entry}", response_class=Response, **openapi.PICTURE)
async def picture(
    request: Request, entry: str, size: Annotated[int, Query(ge=16, le=1024)] = THUMBNAIL
) -> Response:
    """A small picture of an enrolled photo."""
    service = service_of(request)
    enrolled = await service.gallery.fresh()
    row = enrolled.rows.get(entry)
    jpeg = None if row is None else await service.run(thumbnail, enrolled.index.table, row, size)
    if jpeg is None:
        raise ApiError("not_found", "there is no such picture, or its file is gone")
    return Response(
        jpeg, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=3600, immutable"}
    )


def _sort_key(name: str) -> tuple[str, int, str]:
    """`new-2` before `new-10`."""
    start, _, number = name.rpartition("-")
    return (
        (start.casefold(), int(number), name)
        if number.isdecimal() and len(number) < 10
        else (name.casefold(), 0, name)
    )
