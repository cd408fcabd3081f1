"""The picture of a search: photos and their hits, read from their files."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lookalike.errors import ConfigError, LookalikeError

if TYPE_CHECKING:
    from PIL import Image

    from lookalike.search.searcher import Hit

FORMATS = (".png", ".jpg", ".jpeg", ".webp")
PHOTOS = 200
"""Photos that one picture has room for."""


def check_picture(out: Path | None) -> None:
    """Refuse a file that no picture can be written to, before anything is searched.

    Raises:
        ConfigError: the ending is of no picture, or it is a folder.
    """
    if out is not None and (out.suffix.lower() not in FORMATS or out.is_dir()):
        raise ConfigError(f"picture={out}: a picture is a file that ends in {', '.join(FORMATS)}")


def write_picture(
    out: Path, result: "Sequence[tuple[Path, Sequence[Hit]]]", threshold: float | None = None, side: int = 144
) -> None:
    """Draw each photo with its hits, and replace `out` by the picture as a whole.

    Args:
        out: file to write.
        result: photos with their hits.
        threshold: similarity from which on a hit is likely right; None marks none.
        side: pixels of each image's side.

    Raises:
        ConfigError: there are more photos than one picture has room for.
    """
    from lookalike.files import replace_file
    from lookalike.plots.search_hits import Looked, search_picture

    if len(result) > PHOTOS:
        raise ConfigError(
            f"picture={out}: {len(result):,} photos; one picture shows {PHOTOS} at most. Search fewer at once"
        )
    looked = [
        Looked(
            photo.name,
            _picture(str(photo), None, side),
            [
                (_picture(hit.path, getattr(hit, "box", None), side), str(hit.label), hit.score)
                for hit in hits
            ],
            None if threshold is None else bool(hits) and hits[0].score >= threshold,
        )
        for photo, hits in result
    ]
    picture = search_picture(looked, threshold, side)
    kind = {".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}.get(out.suffix.lower(), "PNG")
    out.parent.mkdir(parents=True, exist_ok=True)
    replace_file(out, lambda temporary: picture.save(temporary, format=kind))


def own_threshold(folder: Path | None, space: str) -> float | None:
    """The threshold of the model's operating point; None without one."""
    from lookalike.evaluation.operating_point import read_point

    point = None if folder is None else read_point(folder, space)
    return None if point is None else point.threshold


def _picture(file: str, box: tuple[int, int, int, int] | None, side: int) -> "Image.Image":
    """An image or a part of it; a crossed-out one where it cannot be read any more."""
    from lookalike.data.decode import open_image
    from lookalike.data.thumbnails import placeholder

    try:
        return open_image(file, box, at_least=side)
    except (LookalikeError, OSError, ValueError):
        return placeholder(side)
