"""The application: routes, errors, and the page."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, JSONResponse
from starlette.staticfiles import StaticFiles

from lookalike.serve import immich, listing, openapi, recognition, schemas, writing
from lookalike.serve.errors import ApiError, ErrorResponse
from lookalike.serve.form import MemoryBudget
from lookalike.serve.guard import Guard, as_error
from lookalike.serve.requests import service_of
from lookalike.serve.service import Service
from lookalike.serve.settings import Settings
from lookalike.version import __version__

PAGE = Path(__file__).parent / "page"
DESCRIPTION = (
    "Says who a photo shows: an enrolled identity, someone new, or that it cannot tell. Photos are sent as "
    "multipart/form-data. Writes need `Authorization: Bearer TOKEN` if the service was started with a token; "
    "they are otherwise possible only from the same computer."
)


class PageFiles(StaticFiles):
    """Files of the page. Browsers ask each time whether one has changed, so that versions are not mixed."""

    def file_response(self, *arguments: Any, **options: Any) -> Response:
        """A file, or the answer that it has not changed."""
        response = super().file_response(*arguments, **options)
        response.headers["Cache-Control"] = "no-cache"
        return response


def make_app(service: Service, settings: Settings) -> Guard:
    """The ASGI application of a service."""
    app = FastAPI(
        title="Lookalike",
        version=__version__,
        description=DESCRIPTION,
        docs_url=None,  # these pages load scripts from elsewhere
        redoc_url=None,
        lifespan=_lifespan,
        responses=openapi.FAILURES,
        redirect_slashes=False,
    )
    memory = MemoryBudget(service.limits.memory)
    app.state.service, app.state.settings, app.state.memory = service, settings, memory
    app.include_router(recognition.router)
    app.include_router(listing.router)
    app.include_router(writing.router)
    if settings.immich:
        app.include_router(immich.router)
    app.get("/health", response_model=schemas.Status)(_health)
    app.get("/ready", response_model=schemas.Status)(_ready)
    app.get("/metrics", response_class=Response)(_metrics)
    app.get("/", include_in_schema=False)(_page)
    app.get("/sw.js", include_in_schema=False)(_service_worker)
    app.mount("/page", PageFiles(directory=PAGE), name="page")
    app.exception_handler(ApiError)(_on_api_error)
    app.exception_handler(HTTPException)(_on_http_error)
    app.exception_handler(RequestValidationError)(_on_invalid)
    app.exception_handler(Exception)(_on_failure)
    return Guard(app, service.access, service.metrics, memory)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    yield
    app.state.service.close()


async def _health() -> dict[str, str]:
    """Whether the process answers."""
    return {"status": "ok"}


async def _ready(request: Request) -> Any:
    """Whether photos can be answered now."""
    service: Service = request.app.state.service
    if not service.is_ready or service.computing >= service.limits.queue:
        raise ApiError("busy", "the service is starting, stopping, or has too many requests")
    return {"status": "ready"}


async def _metrics(request: Request) -> Response:
    """Metrics in the format of Prometheus."""
    service = service_of(request)
    enrolled = await service.gallery.fresh()
    service.metrics.images.set(len(enrolled.ids))
    service.metrics.identities.set(len(enrolled.photos))
    service.metrics.uploads.set(len(service.uploads))
    service.metrics.computing.set(service.computing)
    return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


async def _page() -> Response:
    """The page."""
    return _file("index.html")


async def _service_worker() -> Response:
    """The service worker, here so that it serves the whole site."""
    return _file("sw.js")


def _file(name: str) -> Response:
    if not (PAGE / name).is_file():
        raise ApiError("not_found", f"this installation has no {name}")
    return FileResponse(PAGE / name, headers={"Cache-Control": "no-cache"})


async def _on_failure(request: Request, error: Exception) -> JSONResponse:
    return ErrorResponse(ApiError("internal", "the request failed; the log of the service says why", True))


async def _on_api_error(request: Request, error: Exception) -> JSONResponse:
    return ErrorResponse(cast(ApiError, error))


async def _on_http_error(request: Request, error: Exception) -> JSONResponse:
    failure = cast(HTTPException, error)
    return ErrorResponse(as_error(failure.status_code, failure.detail))


async def _on_invalid(request: Request, error: Exception) -> JSONResponse:
    first = cast(RequestValidationError, error).errors()[0]
    key = ".".join(str(part) for part in first["loc"][1:])
    return ErrorResponse(ApiError("bad_request", f"{key}: {first['msg']}"))
