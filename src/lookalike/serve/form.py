"""Bodies of requests, read with limits: bytes, photos, and seconds."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from lookalike.errors import CONTROL
from lookalike.files import parse_json
from lookalike.serve.errors import ApiError
from lookalike.serve.settings import Limits

MULTIPART = "multipart/form-data"
URLENCODED = "application/x-www-form-urlencoded"
"""A form without files, as for kept uploads."""
LEAST_RATE = 32 << 10
"""Bytes a second that a sender needs, after the first `timeout` seconds."""
MAX_FIELDS = 100
MAX_JSON = 100_000
NAME = 200
"""Characters of a file name that are kept."""


@dataclass
class MemoryBudget:
    """Bytes of all requests that are in memory.

    Attributes:
        total: now.
        limit: at most.
    """

    limit: int
    total: int = 0


@dataclass(frozen=True)
class Upload:
    """An uploaded file, which may be anything."""

    name: str
    data: bytes


@dataclass(frozen=True)
class Form:
    """A multipart form: files and texts by field, in their order."""

    files: dict[str, list[Upload]] = field(default_factory=dict)
    texts: dict[str, list[str]] = field(default_factory=dict)

    def photos(self, *names: str) -> list[Upload]:
        """The files of these fields."""
        return [file for name in names for file in self.files.get(name, [])]

    def text(self, name: str) -> str | None:
        """The last text of a field; None without one."""
        texts = self.texts.get(name)
        return texts[-1] if texts else None


async def read_body(request: Request, limit: int, timeout: float) -> bytes:
    """The body, unless it is longer than `limit` bytes or arrives too slowly.

    Raises:
        ApiError: it is, or does, or the memory for requests is used up.
    """
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > limit:
        raise ApiError(
            "too_large", f"the request has {int(declared):,} bytes; at most {limit:,} are read", True
        )
    memory: MemoryBudget = request.app.state.memory
    loop, body = asyncio.get_running_loop(), bytearray()
    start = loop.time()
    try:
        while True:
            latest = min(loop.time() + timeout, start + timeout + len(body) / LEAST_RATE)
            async with asyncio.timeout_at(latest):
                message = await request.receive()
            if message["type"] == "http.disconnect":
                raise ApiError(
                    "bad_request", "the connection was closed before the request was complete", True
                )
            part = message.get("body", b"")
            _hold(request, memory, len(part))
            body += part
            if len(body) > limit:
                raise ApiError(
                    "too_large", f"the request has more than {limit:,} bytes, which are the limit", True
                )
            if not message.get("more_body", False):
                return bytes(body)
    except TimeoutError:
        raise ApiError(
            "too_slow",
            f"the request arrives too slowly: {len(body):,} bytes in "
            f"{loop.time() - start:.0f} seconds; send it again over a faster connection",
            True,
        ) from None


def _hold(request: Request, memory: MemoryBudget, size: int) -> None:
    """Count bytes of a request; the middleware releases them when it is answered."""
    if memory.total + size > memory.limit:
        raise ApiError("busy", "too many large requests at a time; try again in a moment", True)
    memory.total += size
    request.scope["lookalike.bytes"] = request.scope.get("lookalike.bytes", 0) + size


async def read_form(request: Request, limits: Limits) -> Form:
    """The multipart form of a request.

    Raises:
        ApiError: it is none, or beyond a limit.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == URLENCODED:
        return _parse_texts(await read_body(request, MAX_JSON, limits.timeout))
    if kind != MULTIPART:
        raise ApiError("wrong_type", f"send the photo as {MULTIPART}, in the field image", True)
    body = await read_body(request, limits.max_body, limits.timeout)
    parser = _MemoryParser(
        request.headers,
        _stream(body),
        max_files=limits.max_photos,
        max_fields=MAX_FIELDS,
        max_part_size=MAX_JSON,
    )
    try:
        items = (await parser.parse()).multi_items()
    except MultiPartException as error:
        if "Too many files" in error.message:
            raise ApiError("bad_request", f"more than {limits.max_photos} photos in one request") from error
        raise ApiError("bad_request", f"not a valid multipart form: {error.message}") from error
    except Exception as error:  # of the parser, on bytes that are no form
        raise ApiError("bad_request", f"not a valid multipart form: {type(error).__name__}") from error
    form = Form()
    for name, value in items:
        if isinstance(value, UploadFile):
            data = await value.read()
            if len(data) > limits.max_bytes:
                raise ApiError(
                    "too_large", f"a photo has {len(data):,} bytes; at most {limits.max_bytes:,} are read"
                )
            form.files.setdefault(name, []).append(Upload(clean_name(value.filename), data))
        else:
            form.texts.setdefault(name, []).append(value)
    return form


def _parse_texts(body: bytes) -> Form:
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError as error:
        raise ApiError("bad_request", "not a valid form") from error
    form = Form()
    for name, value in pairs:
        form.texts.setdefault(name, []).append(value)
    return form


async def read_json(request: Request, limits: Limits) -> dict[str, Any]:
    """The JSON object in the body.

    Raises:
        ApiError: it is none.
    """
    try:
        value = parse_json(await read_body(request, MAX_JSON, limits.timeout))
    except (ValueError, RecursionError) as error:
        raise ApiError("bad_request", "the body is not JSON") from error
    if not isinstance(value, dict):
        raise ApiError("bad_request", 'the body is not a JSON object, such as {"into": "tom"}')
    return value


def clean_name(name: str | None) -> str:
    """The last part of a file name, on one line."""
    last = (name or "").replace("\\", "/").rpartition("/")[2]
    return CONTROL.sub("", last)[:NAME] or "photo"


async def _stream(body: bytes) -> AsyncGenerator[bytes, None]:
    yield body


class _MemoryParser(MultiPartParser):
    """Keeps files in memory, whose size is limited already: nothing is written to a temporary folder."""

    spool_max_size = 1 << 40
