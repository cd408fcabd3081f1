"""The picture of a search: photos and their hits, read from their files."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lookalike.errors import ConfigError, LookalikeError

if TYPE_CHECKING:
    from PIL import Image

    from lookalike.search.hits import Hits

FORMATS = (".png", ".jpg", ".jpeg", ".webp")
MAX_PHOTOS = 200
"""Number of photos that one picture has room for."""


def check_picture(out: Path | None) -> None:
    """Refuse a file that no picture can be written to, before the search.

    Raises:
        ConfigError: its ending is not that of a picture, or it is a folder.
    """
    if out is not None and (out.suffix.lower() not in FORMATS or out.is_dir()):
        raise ConfigError(f"picture={out}: a picture is a file that ends in {', '.join(FORMATS)}")


def write_picture(out: str | Path, results: "Sequence[Hits]", side: int = 144) -> None:
    """Draw each photo with its hits; an existing file is replaced as a whole.

    Args:
        out: file to write (.png, .jpg or .webp).
        results: hits of photos that were searched with by their files.
        side: height and width of each image in pixels.

    Raises:
        ConfigError: `out` is not a picture, or there are more photos than one picture has room for.
    """
    from lookalike.files import replace_file
    from lookalike.plots.search_hits import Looked, search_picture

    out = Path(out)
    check_picture(out)
    if len(results) > MAX_PHOTOS:
        raise ConfigError(
            f"picture={out}: {len(results):,} photos; one picture holds {MAX_PHOTOS}. Search with fewer"
        )
    rows = [
        Looked(
            Path(hits.query or "").name,
            _picture(hits.query or "", None, side),
            [(_picture(hit.path, hit.box, side), str(hit.label), hit.similarity) for hit in hits],
            hits.likely,
        )
        for hits in results
    ]
    picture = search_picture(rows, results[0].threshold if results else None, side)
    kind = {".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}.get(out.suffix.lower(), "PNG")
    out.parent.mkdir(parents=True, exist_ok=True)
    replace_file(out, lambda temporary: picture.save(temporary, format=kind))


def _picture(file: str, box: tuple[int, int, int, int] | None, side: int) -> "Image.Image":
    """An image or a part of it; a crossed-out one if it can no longer be read."""
    from lookalike.data.decode import open_image
    from lookalike.data.thumbnails import placeholder

    try:
        return open_image(file, box, at_least=side)
    except (LookalikeError, OSError, ValueError):
        return placeholder(side)
