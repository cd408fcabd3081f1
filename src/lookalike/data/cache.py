"""A cache folder of decoded and downscaled images, stored as raw pixels."""

import hashlib
import logging
import mmap
import os
import struct
import zlib
from io import FileIO
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from lookalike.data.decode import Box, Choose
from lookalike.data.pixels import crop, open_pixels
from lookalike.data.shards import image_status
from lookalike.files import replace_file

log = logging.getLogger(__name__)
HEAD = struct.Struct("<8sIII")  # magic bytes, height, width, checksum of the pixels
MARK = b"LKPIXEL1"
CHECKED = 1 << 23


class Cache:
    """Images resized to a shorter side of `side` pixels, one file each, created on first use.

    The file name depends on path, modification time, file size, box, and `side`, so a modified image gets
    another one. Several processes may fill a cache at once: each file is written under a temporary name and
    renamed. A damaged file is replaced; on a full disk, or at its limit, the cache stops growing.

    Args:
        folder: created if needed.
        side: shorter side in pixels; smaller images are not enlarged.
        limit: maximum total size in bytes.
    """

    def __init__(self, folder: Path, side: int, limit: int):
        self.folder, self.side, self._start = folder, side, f"{folder}{os.sep}"
        folder.mkdir(parents=True, exist_ok=True)
        self._left = limit - sum(file.stat().st_size for file in folder.glob("*/*.raw"))
        self._checked = np.frombuffer(mmap.mmap(-1, CHECKED), np.uint8)  # shared by forked workers
        self._grows = True
        self._buffer = np.empty(0, np.uint8)

    def get(self, file: str, box: Box | None, choose: Choose) -> np.ndarray:
        """The required region of an image, or of its box, after downscaling: uint8 [h, w, 3].

        Raises:
            ImageError: it cannot be read.
        """
        name = self._name(file, box)
        pixels = self._read(name, choose) if name else None
        if pixels is not None:
            return pixels
        whole = shrink_picture(open_pixels(file, lambda size: (None, self.side), box), self.side)
        if name:
            self._write(self.folder / name[:2] / f"{name}.raw", whole)
        return crop(whole, choose((whole.shape[1], whole.shape[0]))[0])

    def _name(self, file: str, box: Box | None) -> str:
        """The name of the entry; empty for a missing file."""
        try:
            file_status = image_status(file)
        except OSError:
            return ""
        path = file if os.path.isabs(file) else os.path.abspath(file)  # noqa: PTH100, PTH117
        key = f"{path}\n{file_status.changed} {file_status.size} {box} {self.side}"
        return hashlib.blake2b(key.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()

    def _read(self, name: str, choose: Choose) -> np.ndarray | None:
        """The required region of an entry; None if it is missing or damaged."""
        try:
            with FileIO(f"{self._start}{name[:2]}{os.sep}{name}.raw") as stream:  # faster than pathlib
                return self._read_part(stream, name, choose)
        except (OSError, struct.error):
            return None

    def _read_part(self, stream: FileIO, name: str, choose: Choose) -> np.ndarray | None:
        """The same for an open entry; its checksum is verified the first time."""
        mark, height, width, checksum = HEAD.unpack(stream.read(HEAD.size))
        size = 3 * height * width
        if mark != MARK or not size or os.fstat(stream.fileno()).st_size != HEAD.size + size:
            return None
        x1, y1, x2, y2 = choose((width, height))[0] or (0, 0, width, height)
        mine, sign = int(name[:8], 16) % CHECKED, int(name[8:10], 16) | 1
        if self._checked[mine] != sign:
            pixels = stream.read(size)
            if len(pixels) < size or zlib.crc32(pixels) != checksum:
                return None
            self._checked[mine] = sign
            return np.frombuffer(pixels, np.uint8).reshape(height, width, 3)[y1:y2, x1:x2].copy()
        if self._buffer.size < size:
            self._buffer = np.empty(size, np.uint8)
        rows = self._buffer[: 3 * width * (y2 - y1)]
        stream.seek(HEAD.size + 3 * width * y1)
        if stream.readinto(rows.data) != rows.size:
            return None
        return rows.reshape(y2 - y1, width, 3)[:, x1:x2].copy()

    def _write(self, target: Path, picture: np.ndarray) -> None:
        if not self._grows or picture.size > self._left:
            self._stop("it has reached its limit")
            return
        head = HEAD.pack(MARK, *picture.shape[:2], zlib.crc32(picture.data))
        try:
            target.parent.mkdir(exist_ok=True)
            replace_file(target, lambda temporary: temporary.write_bytes(head + picture.tobytes()))
        except OSError as error:
            self._stop(str(error.strerror or error))
            return
        self._left -= picture.size + HEAD.size

    def _stop(self, reason: str) -> None:
        if self._grows:
            log.warning(
                "the cache %s no longer grows: %s; images that it lacks are decoded each time",
                self.folder,
                reason,
            )
        self._grows = False


def shrink_picture(picture: np.ndarray, side: int) -> np.ndarray:
    """Downscale an image [h, w, 3] to a shorter side of `side` pixels, bicubic with antialiasing."""
    height, width = picture.shape[:2]
    if min(height, width) <= side:
        return np.ascontiguousarray(picture)
    share = side / min(height, width)
    size = (max(side, round(height * share)), max(side, round(width * share)))
    pixels = torch.from_numpy(np.ascontiguousarray(picture))[None].permute(0, 3, 1, 2)
    small = F.interpolate(pixels, size, mode="bicubic", antialias=True)
    return np.ascontiguousarray(small[0].permute(1, 2, 0).numpy())
