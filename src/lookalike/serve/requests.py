"""What endpoints take from a request: the service, and the values of forms and addresses."""

import math
from urllib.parse import unquote

from fastapi import Request

from lookalike.data.decode import Box
from lookalike.serve.errors import ApiError
from lookalike.serve.form import Form
from lookalike.serve.guard import check_read, check_write
from lookalike.serve.service import Service


def service_of(request: Request) -> Service:
    """The service, for a client that may read.

    Raises:
        ApiError: it may not.
    """
    service: Service = request.app.state.service
    check_read(request, service.access)
    return service


def writable_service(request: Request) -> Service:
    """The service, for a client that may write.

    Raises:
        ApiError: it may not, or the index does not change.
    """
    service: Service = request.app.state.service
    check_write(request, service.access)
    service.gallery.require_writable()
    return service


def parse_box(text: str | None) -> Box | None:
    """A box in whole pixels, from x1,y1,x2,y2.

    Raises:
        ApiError: it is none.
    """
    if text is None or not text.strip():
        return None
    try:
        x1, y1, x2, y2 = (float(word) for word in text.replace(",", " ").split())
        box = math.floor(x1), math.floor(y1), math.ceil(x2), math.ceil(y2)
    except (ValueError, OverflowError):
        raise ApiError("bad_request", "box: must be x1,y1,x2,y2, four numbers in pixels") from None
    if box[0] >= box[2] or box[1] >= box[3]:
        raise ApiError("bad_request", "box: must be x1,y1,x2,y2 with x1 < x2 and y1 < y2")
    return box


def decode_name(name: str) -> str:
    """A name from an address.

    Raises:
        ApiError: it is no text.
    """
    try:
        return unquote(name, errors="strict")
    except UnicodeDecodeError:
        raise ApiError("bad_request", "the name in the address is not UTF-8") from None


def parse_number(form: Form, key: str, default: int, most: int) -> int:
    """A whole number from 1 to `most`.

    Raises:
        ApiError: it is none.
    """
    text = form.text(key)
    if text is None or not text.strip():
        return default
    if not text.strip().isdecimal() or not 1 <= int(text[:12]) <= most:
        raise ApiError("bad_request", f"{key}={text[:40]}: must be a number from 1 to {most}")
    return int(text)


def parse_fraction(form: Form, key: str) -> float | None:
    """A number from -1 to 1; None without one.

    Raises:
        ApiError: it is none.
    """
    text = form.text(key)
    if text is None or not text.strip():
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not -1 <= value <= 1:
        raise ApiError("bad_request", f"{key}={text[:40]}: must be a number from -1 to 1")
    return value


def parse_flag(form: Form, key: str) -> bool:
    """True or false, which is the default.

    Raises:
        ApiError: it is neither.
    """
    text = (form.text(key) or "false").strip().lower()
    if text not in ("true", "false", "1", "0"):
        raise ApiError("bad_request", f"{key}={text[:40]}: must be true or false")
    return text in ("true", "1")
