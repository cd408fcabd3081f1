"""`lookalike.serve`: the job `serve` for Python."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from lookalike.detect.cropping import Cropping
    from lookalike.model.embedder import EmbeddingModel
    from lookalike.model.onnx_model import OnnxModel
    from lookalike.search.identify import Validation

TOKEN = "LOOKALIKE_TOKEN"
"""Environment variable with the token, which is visible to others on a command line."""


def serve(
    index: str | Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str | None = None,
    read_token: bool = False,
    hosts: Sequence[str] = (),
    frames: Sequence[str] = (),
    model: "EmbeddingModel | OnnxModel | str | Path | None" = None,
    detect: "str | Cropping" = "auto",
    fpir: float = 0.01,
    validation: "Validation" = None,
    max_bytes: int = 20_000_000,
    max_pixels: int = 50_000_000,
    max_photos: int = 16,
    connections: int = 2000,
    queue: int = 32,
    timeout: float = 20.0,
    batch_size: int = 16,
    threads: int | None = None,
    device: "str | torch.device | None" = None,
    api: str = "lookalike",
    upstream: str | None = None,
) -> None:
    """Serve an index over HTTP until the process gets SIGINT or SIGTERM.

    Args:
        index: index folder. Identities can be enrolled if it was made with `engine="sqlite"`.
        host: address to listen on; the default is reachable from this computer only.
        port: TCP port; 0 takes a free one.
        token: clients send it to change the index. Without one, only clients on this computer may.
        read_token: whether reads need the token, too.
        hosts: names under which the service is reached, besides localhost and IP addresses.
        frames: origins of pages that may show the page of the service in a frame.
        model: model, model folder or exported file, in place of the one that the index names.
        detect: what is detected and cropped in photos: "auto" for what the indexed dataset was prepared with,
            "none", a choice of `prepare detect=`, a dataset folder, or an object of
            `lookalike.detect.cropping`.
        fpir: false positive identification rate: share of strangers who may be given a name.
        validation: vectors of identities that the model was not trained on; by default those in the
            model folder.
        max_bytes: of one photo.
        max_pixels: of one photo.
        max_photos: in one request.
        connections: at a time.
        queue: requests that compute at a time; further ones get 503.
        timeout: seconds in which a request, or its next part, has to arrive.
        batch_size: pictures per pass of the model.
        threads: CPU threads for the model; PyTorch's default if None.
        device: device to compute on; the best one if None.
        api: "lookalike", or "immich" for the machine-learning contract of Immich in addition.
        upstream: for "immich", address of a service that does the other tasks.

    Raises:
        ConfigError: the packages of the extra `serve` are missing, or an argument is wrong.
        LookalikeError: the index or its model cannot be read, or do not belong together.
    """
    from lookalike.cli._serve_detect import find_cropping
    from lookalike.errors import ConfigError
    from lookalike.machine import configure_memory
    from lookalike.serve.settings import Access, Limits, Settings
    from lookalike.serve.start import load_index, require_packages, serve_index

    require_packages()
    configure_memory(threads)
    try:
        access = Access(token or os.environ.get(TOKEN) or None, read_token, tuple(hosts), tuple(frames))
    except ValueError as error:
        raise ConfigError(str(error)) from error
    limits = Limits(max_bytes, max_pixels, max_photos, connections=connections, queue=queue, timeout=timeout)
    loaded = load_index(Path(index), model, device)
    cropping, name = find_cropping(detect, loaded)
    settings = Settings(
        index=Path(index),
        host=host,
        port=port,
        access=access,
        limits=limits,
        cropping=cropping,
        detect=name,
        fpir=fpir,
        validation=validation,
        batch_size=batch_size,
        immich=api == "immich",
        upstream=upstream,
    )
    serve_index(loaded, settings)
