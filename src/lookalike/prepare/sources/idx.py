"""The idx files of MNIST and similar datasets: a big-endian header, then bytes."""

import gzip
import math
import struct
import zlib
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image

from lookalike.errors import DataError, Problem
from lookalike.files import new_folder
from lookalike.prepare.download.locating import find_piece
from lookalike.prepare.sources.annotations import FROM, ROW, ParsedTable, check_public_table
from lookalike.prepare.sources.public import Archive, Piece, PublicSet, Raw

NAMES = {
    ("train", "images"): "train-images-idx3-ubyte",
    ("train", "labels"): "train-labels-idx1-ubyte",
    ("test", "images"): "t10k-images-idx3-ubyte",
    ("test", "labels"): "t10k-labels-idx1-ubyte",
}
MAGIC = {"images": 0x803, "labels": 0x801}
MAX_BYTES = 1 << 31
NOTE = "made_from"


def idx_pieces(base: str, *md5: str) -> tuple[Piece, ...]:
    """The four files of a dataset below a URL, with checksums in the order of `NAMES`."""
    return tuple(
        Piece(f"{name}.gz", (Archive(f"{name}.gz", f"{base}/{name}.gz", checksum=f"md5:{checksum}"),))
        for name, checksum in zip(NAMES.values(), md5, strict=True)
    )


def read_images(raw: Raw, public_set: PublicSet, names: Sequence[str], official_split: bool) -> ParsedTable:
    """The table of such a dataset; its images are written as PNG once.

    Args:
        raw: where its files are, as published or without their `.gz`.
        public_set: its four files.
        names: the label of each class index.
        official_split: keep the split of the files.

    Raises:
        DataError: a file is missing, damaged or truncated, or labels and images differ in number.
    """
    root = raw.root(public_set)
    plain = {name: find_piece(root, name) for name in NAMES.values()}
    paths = {name: path for name, path in plain.items() if path}
    if len(paths) < len(NAMES):
        paths = {name.removesuffix(".gz"): path for name, path in raw.open(public_set).items()}
    frames, wrong, pictures = [], [], {}
    for split in ("train", "test"):
        image_file, label_file = (paths[NAMES[split, kind]] for kind in ("images", "labels"))
        pictures[split] = read_idx(image_file, "images")
        labels = read_idx(label_file, "labels").tolist()
        if len(labels) != len(pictures[split]):
            raise DataError(
                f"{label_file}: {len(labels):,} labels, {len(pictures[split]):,} images in {image_file.name}"
            )
        rows = [
            (f"png/{split}/{row:05}.png", names[label], split, label_file.name, row)
            for row, label in enumerate(labels)
            if label < len(names)
        ]
        wrong += [
            Problem(label_file.name, f"label {label}: there are {len(names)} classes, from 0", row)
            for row, label in enumerate(labels)
            if label >= len(names)
        ]
        schema = dict.fromkeys(("path", "label", "split", FROM), pl.String) | {ROW: pl.Int64}
        frames.append(pl.DataFrame(rows, schema=schema, orient="row"))
    _write(pictures, root / "png")
    frame = pl.concat(frames)
    return check_public_table(frame, root, public_set, wrong, keep_split=official_split)


def read_idx(file: Path, kind: str) -> np.ndarray:
    """Images [N, height, width] or labels [N] of an idx file, plain or `.gz`, uint8.

    Raises:
        DataError: it is another file, damaged, or its size does not match its header.
    """
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as stream:
            words = 4 if kind == "images" else 2
            head = stream.read(4 * words)
            magic, *shape = struct.unpack(f">{words}I", head)
            length = math.prod(shape)
            if magic != MAGIC[kind] or not 0 < length <= MAX_BYTES:
                raise DataError(f"{file}: not an idx file of {kind}; it begins with {head[:4].hex(' ')}")
            data = stream.read(length + 1)
    except (EOFError, OSError, struct.error, zlib.error) as error:
        raise DataError(f"{file}: damaged or truncated: {error}. Download it again") from error
    if len(data) != length:
        more = "more" if len(data) > length else f"only {len(data):,}"
        raise DataError(
            f"{file}: its header announces {length:,} bytes, but there are {more}. Download it again"
        )
    return np.frombuffer(data, np.uint8).reshape(shape)


def _write(pictures: dict[str, np.ndarray], folder: Path) -> None:
    """Write the images as PNG, once.

    Raises:
        DataError: the folder contains other images.
    """
    digest = blake2b()
    for images in pictures.values():
        digest.update(repr(images.shape).encode() + images.tobytes())
    digest_text = digest.hexdigest()
    if folder.exists():
        if not (folder / NOTE).is_file() or (folder / NOTE).read_text(encoding="utf-8") != digest_text:
            raise DataError(
                f"{folder}: was not made from the files beside it; delete it, or choose another raw="
            )
        return
    with new_folder(folder) as temporary:
        for split, images in pictures.items():
            (temporary / split).mkdir()
            for row, image in enumerate(images):
                Image.fromarray(image).save(temporary / split / f"{row:05}.png")
        (temporary / NOTE).write_text(digest_text, encoding="utf-8")
