"""Thumbnails of the images of a table, for pages and maps."""

import base64
import io
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image, ImageDraw

from lookalike.data.decode import open_image
from lookalike.data.shards import parse_member
from lookalike.data.table import Table
from lookalike.errors import LookalikeError, Problem


class Thumbnails:
    """Thumbnails of table rows, each created once, with a placeholder for unreadable images.

    Args:
        table: of the images.
        side: longer side in pixels.
    """

    def __init__(self, table: Table, side: int = 128):
        self.table, self.side = table, side
        self.problems: dict[int, Problem] = {}
        self._pictures: dict[int, Image.Image] = {}
        self._uris: dict[int, str] = {}

    def load(self, rows: Iterable[int]) -> list[Image.Image]:
        """The thumbnails of these rows, loaded by a few threads."""
        rows = [int(row) for row in rows]
        with ThreadPoolExecutor(4) as pool:
            return list(pool.map(self.picture, rows))

    def picture(self, row: int) -> Image.Image:
        """The thumbnail of a row."""
        if row not in self._pictures:
            self._pictures[row] = self._read(row)
        return self._pictures[row]

    def uri(self, row: int) -> str:
        """The thumbnail of a row as a data URI."""
        if row not in self._uris:
            self._uris[row] = webp_uri(self.picture(row), quality=82)
        return self._uris[row]

    def path(self, row: int) -> str:
        """The end of a row's path: enough to find the file, without revealing the machine's folders."""
        file = self.table.file(row)
        member = parse_member(file)
        file = file if member is None else Path(member.shard, member.name)
        parts = [part for part in file.parts if part != ".."]
        return "/".join(parts[-3:])

    def _read(self, row: int) -> Image.Image:
        file = self.table.file(row)
        try:
            image = open_image(file, self.table.box(row), at_least=self.side)
        except (LookalikeError, OSError, ValueError) as error:
            reason = getattr(error, "reason", None) or str(error)
            self.problems[row] = Problem(placeholder_colour(file), reason, row)
            return placeholder(self.side)
        image.thumbnail((self.side, self.side), Image.Resampling.LANCZOS)
        return image


def placeholder_colour(file: Path) -> str:
    """A path without `..` in its middle, if it still leads to the same file."""
    short = os.path.normpath(file)
    return short if os.path.realpath(short) == os.path.realpath(file) else str(file)


def placeholder(side: int) -> Image.Image:
    """The placeholder for an unreadable image: a crossed-out grey square."""
    image = Image.new("RGB", (side, side), "#eceae6")
    draw = ImageDraw.Draw(image)
    for start, end in (((0, 0), (side, side)), ((0, side), (side, 0))):
        draw.line((*start, *end), fill="#b9b5ad", width=max(1, side // 48))
    draw.rectangle((0, 0, side - 1, side - 1), outline="#b9b5ad", width=max(1, side // 48))
    return image


def webp_uri(image: Image.Image, quality: int = 80) -> str:
    """An image as a data URI."""
    file = io.BytesIO()
    image.save(file, "WEBP", quality=quality, method=4)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"
