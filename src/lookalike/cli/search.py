"""The job `search`: look up a photo, a folder or a list of photos in an index."""

import json
import logging
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, Field

from lookalike.errors import ConfigError, Problem, list_problems

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lookalike.data.decode import Box
    from lookalike.search.hits import Hits
    from lookalike.search.index import Index

log = logging.getLogger(__name__)


class Config(BaseModel):
    """The keys of `lookalike search`; their defaults are in conf/search.yaml."""

    index: Path = Field(description="index folder to search")
    image: str | list[str] | None = Field(
        description="photo, folder of photos, or text file with one path per line; [a,b] for several"
    )
    text: str | list[str] | None = Field(
        description='words to search with, as text="grey tabby", if the model has a text tower (see '
        "align-text); [a,b] for several"
    )
    fusion: float = Field(
        ge=0, le=1, description="with image= and text=: weight of the text; the photo has the rest"
    )
    text_encoder: dict[str, Any] | None = Field(
        description="{_target_: …}: the encoder that the text tower was trained around; null for the others"
    )
    box: str | list[float] | None = Field(
        description="region of the photo to search with: x1,y1,x2,y2 in pixels of the upright photo; null"
        " uses the whole photo"
    )
    k: Annotated[int, Field(ge=1)] = Field(description="number of hits per photo")
    by: Literal["image", "label"] = Field(
        description="type of hit: an image, or an identity with its nearest image (label)"
    )
    dim: int | None = Field(
        ge=1,
        description="number of leading dimensions to compare, for models trained with matryoshka=; null "
        "compares those of the index",
    )
    threshold: float | None = Field(
        ge=-1,
        le=1,
        description="cosine similarity below which the photo probably shows none of the hits; null uses "
        "the model's threshold",
    )
    format: Literal["table", "json", "csv"] = Field(description="output format")
    picture: Path | None = Field(
        description="image file to write with the photos and their hits (.png, .jpg or .webp); an "
        "existing file is replaced"
    )
    model: Path | None = Field(description="model folder; null uses the model named in the index")
    batch_size: Annotated[int, Field(ge=1)] = Field(description="batch size")
    threads: int | None = Field(
        ge=1, description="number of CPU threads for the model; null keeps the default of PyTorch"
    )
    device: str | None = Field(description="device: cpu, cuda, cuda:1 or mps; null selects the best")


def main(config: Config) -> None:
    """Print the hits of every photo; photos that cannot be read are listed on stderr."""
    from lookalike.machine import choose_device, configure_memory
    from lookalike.search.index import Index
    from lookalike.search.picture import check_picture
    from lookalike.search.query import find_photos

    check_picture(config.picture)
    _check_query(config)
    configure_memory(config.threads)
    skipped: list[Problem] = []
    photos = [] if config.image is None else find_photos(config.image)
    index = Index.load(config.index, config.model, choose_device(config.device))
    index = index if config.dim is None else index.truncate(config.dim)
    if config.text is not None:
        _report(config, _search_texts(config, index, photos))
        return
    results = index.search(
        photos,
        config.k,
        by=config.by,
        threshold=config.threshold,
        box=_parse_box(config.box, len(photos)),
        batch_size=config.batch_size,
        skipped=skipped,
    )
    if skipped:
        log.warning("%d of %d images cannot be read:%s", len(skipped), len(results), list_problems(skipped))
    unread = {problem.row for problem in skipped}
    _report(config, [hits for row, hits in enumerate(results) if row not in unread])


def _check_query(config: Config) -> None:
    if config.image is None and config.text is None:
        raise ConfigError("give image=PHOTO, or text=WORDS for a model with a text tower, or both")
    if config.text is not None and config.box is not None:
        raise ConfigError(
            "box: a region of a photo is searched with alone; leave out text=, or crop the photo"
        )
    if config.picture is not None and config.image is None:
        raise ConfigError("picture: shows photos with their hits; leave it out where text= is searched alone")


def _search_texts(config: Config, index: "Index", photos: "Sequence[Path]") -> "list[Hits]":
    from lookalike.config import build
    from lookalike.search.text_query import search_texts

    encoder = None if config.text_encoder is None else build(config.text_encoder, "text_encoder")
    return search_texts(
        index,
        config.text or "",
        photos,
        fusion=config.fusion,
        k=config.k,
        by=config.by,
        threshold=config.threshold,
        batch_size=config.batch_size,
        encoder=encoder,
    )


def _report(config: Config, results: "Sequence[Hits]") -> None:
    """Print the hits, and draw them if wanted."""
    if config.picture is not None:
        from lookalike.search.picture import write_picture

        write_picture(config.picture, results)
        log.info("picture of the hits: %s", config.picture)
    if config.format == "json":
        print(_results_as_json(results, _texts(config, len(results))))
    elif config.format == "csv":
        print(_results_as_csv(results, _texts(config, len(results))), end="")
    else:
        _show_results(results, _texts(config, len(results)))


def _parse_box(box: str | list[float] | None, count: int) -> "list[Box] | None":
    """The part of the photo in whole pixels.

    Raises:
        ConfigError: it is not a box, or there are several photos.
    """
    if box is None:
        return None
    words = box.replace(",", " ").split() if isinstance(box, str) else box
    try:
        x1, y1, x2, y2 = (float(word) for word in words)
        whole = (math.floor(x1), math.floor(y1), math.ceil(x2), math.ceil(y2))
    except (ValueError, OverflowError):
        raise ConfigError(f"box={box}: must be x1,y1,x2,y2, four numbers") from None
    if x1 >= x2 or y1 >= y2:
        raise ConfigError(f"box={box}: must be x1,y1,x2,y2 with x1 < x2 and y1 < y2")
    if count != 1:
        raise ConfigError(f"box={box}: is a region of one photo, and image= names {count}")
    return [whole]


def _texts(config: Config, count: int) -> list[str]:
    """The text of each result; empty if only photos were searched with."""
    texts = [config.text] if isinstance(config.text, str) else config.text or []
    return [texts[row % len(texts)] for row in range(count)] if texts else []


def _results_as_json(results: "Sequence[Hits]", texts: list[str]) -> str:
    """A list with one entry per photo or text."""
    entries = [
        {
            "image": None if hits.query in texts[row : row + 1] else hits.query,
            **({"text": texts[row]} if texts else {}),
            "hits": [
                {
                    "label": hit.label,
                    "score": round(hit.similarity, 6),
                    "path": hit.path,
                    "box": None if hit.box is None else list(hit.box),
                }
                for hit in hits
            ],
            "likely": hits.likely,
        }
        for row, hits in enumerate(results)
    ]
    return json.dumps(entries, indent=2)


def _pair(names: list[str], texts: list[str]) -> list[tuple[str, str]]:
    return list(zip(names, texts or [""] * len(names), strict=True))


def _results_as_csv(results: "Sequence[Hits]", texts: list[str]) -> str:
    """One line per hit, with a header."""
    from lookalike.console import to_csv

    return to_csv(
        ("image", "text", "rank", "score", "label", "path", "x1", "y1", "x2", "y2", "likely"),
        [
            (
                *(hits.query, text, rank, round(hit.similarity, 6), hit.label, hit.path),
                *(hit.box or [None] * 4),
                hit.likely,
            )
            for hits, text in zip(results, texts or [None] * len(results), strict=True)
            for rank, hit in enumerate(hits, 1)
        ],
    )


def _show_results(results: "Sequence[Hits]", texts: list[str]) -> None:
    """One table per photo or text, and a message on each photo that probably shows none of its hits."""
    from lookalike.console import print_tables

    names = [str(hits.query) for hits in results]
    names = [name if text in ("", name) else f"{name}, {text}" for name, text in _pair(names, texts)]
    tables = {
        name: [(rank, f"{hit.similarity:.4f}", hit.label, hit.path) for rank, hit in enumerate(hits, 1)]
        for name, hits in zip(names, results, strict=True)
    }
    print_tables("query" if texts else "image", ("rank", "score", "label", "path"), tables)
    for hits in results:
        if hits.likely is False:
            nearest = f"the nearest has similarity {hits[0].similarity:.3f}" if hits else "nothing was found"
            log.warning(
                "%s: probably none of these: %s, the threshold is %.3f",
                *(hits.query, nearest, hits.threshold),
            )
