"""The job `search`: a photo, a folder or a list of them is looked up in an index."""

import json
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, Field

from lookalike.data.shards import image_exists
from lookalike.errors import ConfigError, DataError, LookalikeError, Problem, list_problems

if TYPE_CHECKING:
    from lookalike.search.searcher import Hit, Searcher

log = logging.getLogger(__name__)

LISTS = {".txt", ".lst", ".list"}


class Config(BaseModel):
    """The keys of `lookalike search`; their defaults are in conf/search.yaml."""

    index: Path = Field(description="index folder to search")
    image: str | list[str] = Field(
        description="photo, folder of photos, or text file with one path per line; [a,b] for several"
    )
    box: str | list[float] | None = Field(
        description="region of the photo to search with: x1,y1,x2,y2 in pixels of the upright photo; null"
        " uses the whole photo"
    )
    k: Annotated[int, Field(ge=1)] = Field(description="number of hits per photo")
    by: Literal["image", "label"] = Field(
        description="type of hit: an image, or an identity with its nearest image (label)"
    )
    threshold: float | None = Field(
        ge=-1,
        le=1,
        description="cosine similarity below which the photo probably shows none of the hits; null uses "
        "the model's threshold",
    )
    format: Literal["table", "json"] = Field(description="output format")
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
    from lookalike.cli._search_picture import check_picture, write_picture
    from lookalike.machine import choose_device, configure_memory
    from lookalike.search.searcher import Searcher

    check_picture(config.picture)
    photos = find_photos(config.image)
    box = _box(config.box, photos)
    if not any(image_exists(photo) for photo in photos):
        raise LookalikeError(f"image={config.image}: no such photo, folder or list")
    configure_memory(config.threads)
    searcher = Searcher(config.index, config.model, choose_device(config.device))
    skipped: list[Problem] = []
    hits = searcher.search(photos, config.k, skipped, config.batch_size, box and [box], config.by)
    if len(skipped) == len(photos):
        raise DataError("no image to search with can be read", skipped)
    if skipped:
        log.warning("%d of %d images cannot be read:%s", len(skipped), len(photos), list_problems(skipped))
    bad = {problem.row for problem in skipped}
    results = [pair for row, pair in enumerate(zip(photos, hits, strict=True)) if row not in bad]
    threshold = _threshold(config, searcher)
    if config.picture is not None:
        write_picture(config.picture, results, threshold)
        log.info("picture of the hits: %s", config.picture)
    if config.format == "json":
        print(_results_as_json(results, threshold))
    else:
        _show_results(results, threshold)


def _threshold(config: Config, searcher: "Searcher") -> float | None:
    """From which similarity on a hit is likely right; None, which is logged, where nothing says so."""
    from lookalike.cli._search_picture import own_threshold

    if config.threshold is not None:
        return config.threshold
    result = own_threshold(config.model or searcher.index.model, searcher.model.space)
    if result is None:
        log.info(
            "the model has no operating_point.json, so hits are not judged; threshold=0.6 sets a threshold"
        )
    return result


def _box(box: str | list[float] | None, photos: Sequence[Path]) -> tuple[int, int, int, int] | None:
    """The part of the photo in whole pixels.

    Raises:
        ConfigError: it is no box, or there are several photos.
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
    if len(photos) != 1:
        raise ConfigError(f"box={box}: is of one photo, and image= names {len(photos)}")
    return whole


def find_photos(image: str | Sequence[str]) -> list[Path]:
    """The photos that `image=` means, those of a folder by name.

    Raises:
        LookalikeError: something is not there, or holds no photo.
    """
    if not isinstance(image, str):
        return [photo for path in image for photo in find_photos(path)]
    path = Path(image).expanduser()
    if path.is_dir():
        from lookalike.data.formats import ENDINGS

        photos = sorted(file for file in path.rglob("*") if file.suffix.lower() in ENDINGS and file.is_file())
    elif path.suffix.lower() in LISTS and path.is_file():
        photos = _read_photo_list(path)
    else:
        photos = [path]
    if not photos:
        raise LookalikeError(f"image={image}: holds no photo")
    return photos


def _read_photo_list(file: Path) -> list[Path]:
    """The lines of a list; a relative path starts in the current folder, or else where the list is."""
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise LookalikeError(f"image={file}: cannot be read as a list of paths: {error}") from error
    paths = [Path(line).expanduser() for line in lines if line]
    return [path if image_exists(path) else file.parent / path for path in paths]


def _likely(hits: "Sequence[Hit]", threshold: float | None) -> bool | None:
    """Whether the photo probably shows the nearest hit; None where there is no threshold."""
    return None if threshold is None else bool(hits) and hits[0].score >= threshold


def _results_as_json(hits_by_photo: Sequence[tuple[Path, "list[Hit]"]], threshold: float | None) -> str:
    """A list with one entry a photo."""
    results = [
        {
            "image": str(photo),
            "hits": [
                {
                    "label": hit.label,
                    "score": round(hit.score, 6),
                    "path": hit.path,
                    "box": None if hit.box is None else list(hit.box),
                }
                for hit in hits
            ],
            "likely": _likely(hits, threshold),
        }
        for photo, hits in hits_by_photo
    ]
    return json.dumps(results, indent=2)


def _show_results(results: Sequence[tuple[Path, "list[Hit]"]], threshold: float | None) -> None:
    """One table a photo, and a message on each photo that probably shows none of its hits."""
    from lookalike.console import print_tables

    tables = {
        str(photo): [(rank, f"{hit.score:.4f}", hit.label, hit.path) for rank, hit in enumerate(hits, 1)]
        for photo, hits in results
    }
    print_tables("image", ("rank", "score", "label", "path"), tables)
    for photo, hits in results:
        if _likely(hits, threshold) is False:
            nearest = f"the nearest has similarity {hits[0].score:.3f}" if hits else "nothing was found"
            log.warning(
                "%s: probably none of these: %s, the threshold is %.3f", *(photo, nearest, threshold or 0.0)
            )
