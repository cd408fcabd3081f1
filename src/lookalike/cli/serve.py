"""The job `serve`: an HTTP service and a page for an index."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field


class Immich(BaseModel):
    """Keys of api=immich."""

    upstream: str | None = Field(
        description="address of Immich's own machine-learning service, which gets all tasks but faces; null "
        "refuses them"
    )


class Config(BaseModel):
    """The keys of `lookalike serve`; their defaults are in conf/serve.yaml."""

    index: Path = Field(description="index folder; identities can be enrolled if made with engine=sqlite")
    host: str = Field(
        description="address to listen on; 127.0.0.1: this computer only, 0.0.0.0: all networks"
    )
    port: int = Field(ge=0, le=65535, description="TCP port; 0 takes a free one")
    token: str | None = Field(
        description="secret that clients send to change the index; null lets only clients on this computer. "
        "The environment variable LOOKALIKE_TOKEN sets it, too"
    )
    read_token: bool = Field(description="whether searching and looking needs the token, too")
    hosts: list[str] = Field(
        description="names under which the service is reached, such as [cats.example.org]; localhost and IP "
        "addresses are always allowed, other names are refused (DNS rebinding)"
    )
    frames: list[str] = Field(description="origins of pages that may show the page of the service in a frame")
    model: Path | None = Field(
        description="model folder, or file of `lookalike export`; null uses the model named in the index"
    )
    detect: str = Field(
        description="what is detected and cropped in photos: auto (as the indexed dataset was prepared), "
        "none, a choice of prepare detect= such as face, or a dataset folder that was prepared so"
    )
    fpir: float = Field(
        gt=0,
        lt=1,
        description="false positive identification rate: share of strangers who may get a name",
    )
    validation: Path | None = Field(
        description="embeddings folder, or file of vectors with labels, of identities that the model was not "
        "trained on; null uses those in the model folder"
    )
    max_bytes: int = Field(ge=1000, description="largest photo in bytes")
    max_pixels: int = Field(ge=1000, le=100_000_000, description="largest photo in pixels")
    max_photos: int = Field(ge=1, le=1000, description="most photos in one request")
    connections: int = Field(ge=1, description="most connections at a time")
    queue: int = Field(ge=1, description="most requests that compute or wait at a time; further ones get 503")
    timeout: float = Field(
        ge=0.1, le=600, description="seconds in which a request, or its next part, has to arrive"
    )
    batch_size: Annotated[int, Field(ge=1)] = Field(description="most pictures in one pass of the model")
    threads: int | None = Field(
        ge=1, description="number of CPU threads for the model; null keeps the default of PyTorch"
    )
    device: str | None = Field(description="device: cpu, cuda, cuda:1 or mps; null selects the best")
    api: Literal["lookalike", "immich"] = Field(
        description="immich: also the contract of Immich's machine learning, so that it recognises pets"
    )
    immich: Immich = Field(description="how tasks of Immich other than faces are answered")


def main(config: Config) -> None:
    """Serve until the process is stopped."""
    from lookalike.cli.serve_api import serve

    options = config.model_dump(exclude={"index", "immich", "threads"})
    serve(config.index, upstream=config.immich.upstream, threads=config.threads, **options)
