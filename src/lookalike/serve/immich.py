"""Immich's machine-learning contract: its faces are the subjects of this service, such as pets.

Immich sends a form with `entries`, JSON of the tasks, and an image or a text. `facial-recognition` is
answered here; `clip` and `ocr` are passed on to Immich's own service, whose address the operator sets.
"""

import json
import math
import secrets
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

import numpy as np
from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, PlainTextResponse

from lookalike.errors import ConfigError
from lookalike.serve import openapi
from lookalike.serve.errors import ApiError
from lookalike.serve.form import Form, Upload, read_form
from lookalike.serve.requests import service_of
from lookalike.serve.service import Embedded, Service

router = APIRouter()
TASK = "facial-recognition"
DIM = 512
"""Dimension of the column in Immich's database; shorter vectors get zeros, which change no cosine."""
TIMEOUT = 120.0
MOST_BYTES = 50_000_000
"""Of an answer of Immich's own service."""


def check_model(dim: int, upstream: str | None) -> None:
    """Refuse a model or an address that Immich cannot be served with.

    Raises:
        ConfigError: its vectors are too long for Immich's database, or the address is none.
    """
    if dim > DIM:
        raise ConfigError(
            f"api=immich: the database of Immich holds vectors of dimension {DIM}, and this model has "
            f"{dim}; train one with dim={DIM} or less"
        )
    if upstream is not None and not upstream.startswith(("http://", "https://")):
        raise ConfigError(f"immich.upstream={upstream}: must be an address such as http://immich-ml:3003")


@router.get("/ping", response_class=PlainTextResponse)
async def ping() -> PlainTextResponse:
    """Whether the service runs, as Immich asks it."""
    return PlainTextResponse("pong")


@router.post("/predict", response_model=None, **openapi.PREDICT)
async def predict(request: Request) -> JSONResponse:
    """The tasks of Immich: facial-recognition here, others by Immich's own service."""
    service = service_of(request)
    form = await read_form(request, service.limits)
    entries = _entries(form)
    images = form.photos("image")
    if len(images) > 1 or (not images and form.text("text") is None):
        raise ApiError("bad_request", "send one image, or a text")
    answer: dict[str, Any] = {}
    others = {task: entry for task, entry in entries.items() if task != TASK}
    if others:
        address = _upstream(request, others)
        answer |= await service.run(forward, address, others, images, form.text("text"))
    if TASK in entries:
        if not images:
            raise ApiError("bad_request", f"{TASK} needs an image")
        answer |= await _faces(service, images[0], _least_score(entries[TASK]))
    return JSONResponse(answer)


async def _faces(service: Service, image: Upload, least_score: float) -> dict[str, Any]:
    """The subjects of an image as Immich's faces."""
    subjects, (photo,) = await service.embed([image], [None])
    if photo.error is not None and photo.error.code != "nothing_detected":
        raise photo.error
    width, height = photo.size
    faces = [_face(each, width, height) for each in subjects if each.subject.score >= least_score]
    return {TASK: faces, "imageHeight": height, "imageWidth": width}


def _face(subject: Embedded, width: int, height: int) -> dict[str, Any]:
    x1, y1, x2, y2 = subject.subject.box or (0, 0, width, height)
    vector = np.zeros(DIM, np.float32)
    vector[: len(subject.vector)] = subject.vector
    box = {"x1": round(x1), "y1": round(y1), "x2": round(x2), "y2": round(y2)}
    text = json.dumps([round(float(value), 8) for value in vector], separators=(",", ":"))
    return {"boundingBox": box, "embedding": text, "score": round(float(subject.subject.score), 6)}


def _entries(form: Form) -> dict[str, Any]:
    """The tasks of a request."""
    try:
        entries = json.loads(form.text("entries") or "")
    except (ValueError, RecursionError):
        entries = None
    if not isinstance(entries, dict) or not entries or not all(isinstance(e, dict) for e in entries.values()):
        raise ApiError("bad_request", f'entries: must be JSON such as {{"{TASK}": {{"detection": {{…}}}}}}')
    return entries


def _least_score(entry: Mapping[str, Any]) -> float:
    """The score that Immich's settings ask of a detection."""
    detection = entry.get("detection")
    options = detection.get("options") if isinstance(detection, dict) else None
    value = options.get("minScore", 0) if isinstance(options, dict) else 0
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else 0.0


def _upstream(request: Request, others: Mapping[str, Any]) -> str:
    address = request.app.state.settings.upstream
    if address is None:
        raise ApiError(
            "not_found",
            f"{', '.join(map(str, others))[:100]}: this service answers {TASK}; immich.upstream=URL passes "
            "other tasks on to Immich's own machine learning",
        )
    return address


def forward(
    address: str, entries: Mapping[str, Any], images: list[Upload], text: str | None
) -> dict[str, Any]:
    """The answer of Immich's own service.

    Raises:
        ApiError: it cannot be reached, or does not answer as it should.
    """
    boundary = secrets.token_hex(16)
    body = _multipart(boundary, entries, images, text)
    url = f"{address.rstrip('/')}/predict"
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}", "Accept": "application/json"}
    sent = urllib.request.Request(url, body, headers, method="POST")
    try:
        with urllib.request.build_opener(_NoRedirect).open(sent, timeout=TIMEOUT) as response:
            answer = json.loads(response.read(MOST_BYTES))
    except urllib.error.HTTPError as error:
        raise ApiError("upstream", f"immich.upstream answered {error.code} {error.reason}") from error
    except (OSError, ValueError) as error:
        raise ApiError("upstream", f"immich.upstream cannot be reached: {error}") from error
    if not isinstance(answer, dict):
        raise ApiError("upstream", "immich.upstream did not answer with a JSON object")
    return answer


def _multipart(boundary: str, entries: Mapping[str, Any], images: list[Upload], text: str | None) -> bytes:
    parts = [('name="entries"', json.dumps(entries).encode())]
    parts += [('name="image"; filename="blob"', image.data) for image in images]
    parts += [] if text is None else [('name="text"', text.encode())]
    body = b"".join(
        f"--{boundary}\r\nContent-Disposition: form-data; {head}\r\n\r\n".encode() + data + b"\r\n"
        for head, data in parts
    )
    return body + f"--{boundary}--\r\n".encode()


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect is an error: photos go to the address that was set, and nowhere else."""

    def redirect_request(self, *arguments: Any, **named: Any) -> None:
        return None
