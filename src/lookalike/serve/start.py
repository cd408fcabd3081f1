"""Load an index, and serve it."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lookalike.errors import ConfigError
from lookalike.machine import choose_device
from lookalike.model.loading import find_onnx
from lookalike.search.index import Index
from lookalike.serve.settings import Settings

if TYPE_CHECKING:
    import uvicorn

    from lookalike.serve.service import Service

log = logging.getLogger(__name__)
PACKAGES = ("fastapi", "uvicorn", "starlette", "python_multipart", "multipart", "prometheus_client", "h11")


def serve_index(index: Index, settings: Settings) -> None:
    """Serve until SIGINT or SIGTERM; requests that were begun are finished first.

    Raises:
        ConfigError: the packages of the extra `serve` are missing, or the address cannot be listened on.
        LookalikeError: the model is missing, or not the one that the index was built with.
    """
    require_packages()
    service = make_service(index, settings)
    server = make_server(service, settings)
    warn_of_exposure(settings)
    listener = _listen(server, settings)
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    log.info("serving %s: http://%s:%d/ (stop it with Ctrl-C)", settings.index, shown, port)
    server.run(sockets=[listener])
    log.info("stopped")


def require_packages() -> None:
    """Check that the extra `serve` is installed.

    Raises:
        ConfigError: it is not.
    """
    try:
        import fastapi  # noqa: F401
        import prometheus_client  # noqa: F401
        import python_multipart  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        if error.name not in PACKAGES:
            raise
        raise ConfigError(f"serve needs the package {error.name}: pip install 'lookalike[serve]'") from error


def make_service(index: Index, settings: Settings) -> "Service":
    """The service of a loaded index; its space is compared with that of the model."""
    from lookalike.serve import immich
    from lookalike.serve.service import Service

    if settings.immich:
        immich.check_model(index.vectors.shape[1], settings.upstream)
    service = Service(index, settings)
    log.info("model: %s, run by %s", index.model_folder or "in memory", service.runtime)
    log.info(
        "photos: %s", "used whole" if settings.cropping is None else f"cropped by detect={settings.detect}"
    )
    if len(index):
        service.workers.submit(
            index.search, index.vectors[:1], 1
        )  # imports what the first search would wait for
    return service


def make_server(service: "Service", settings: Settings) -> "uvicorn.Server":
    """The server of a service, not started."""
    from lookalike.serve import server
    from lookalike.serve.app import make_app

    app = make_app(service, settings)
    return server.make_server(app, settings.host, settings.port, settings.limits, service.metrics)


def warn_of_exposure(settings: Settings) -> None:
    """Warn where other computers can reach the service without a token."""
    from lookalike.serve.guard import is_address, is_loopback

    host = settings.host
    if host == "localhost" or (is_address(host) and is_loopback(host)):
        return
    if settings.access.token is None:
        log.warning(
            "host=%s: everybody who reaches this address can search and see the pictures; only this computer "
            "can change the index. token= and read_token=true close both to others",
            host,
        )
    log.info("connections are not encrypted; put a proxy with TLS in front of the service, see docs/serve.md")


def _listen(server: Any, settings: Settings) -> Any:
    import socket

    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
        listener.listen(server.config.backlog)
    except (OSError, OverflowError) as error:
        listener.close()
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(
            f"host={settings.host} port={settings.port}: cannot be listened on: {reason}; choose another "
            "port=, or port=0 for a free one"
        ) from error
    return listener


def load_index(folder: Path, model: Any = None, device: Any = None) -> Index:
    """An index with its model, which is loaded and checked.

    Args:
        folder: the index.
        model: in place of the one that the index names.
        device: to compute on; the best one if None. An exported model does not need PyTorch to choose it.

    Raises:
        LookalikeError: as in `Index.load`, or the model is of another space.
    """
    index = Index.load(folder, model)
    path = index.model if isinstance(index.model, Path) else None
    if path is not None and find_onnx(path) is None and (device is None or isinstance(device, str)):
        device = choose_device(device)
    index = index.with_model(device=device)
    index.loaded_model  # noqa: B018 - raises an error if it is of another space
    return index
