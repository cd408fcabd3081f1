"""File contents: which files are identical, and which image format each really has."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from pathlib import Path

from lookalike.data.formats import HEAD, format_of_bytes
from lookalike.data.shards import image_status, open_image_file

PIECE = 1 << 20
THREADS = 4
OTHER, UNREADABLE = "other", "unreadable"


def same_files(files: Sequence[Path]) -> list[list[int]]:
    """Indices of files with the same bytes, in groups of two or more, in order.

    Only files of the same size are read.

    Raises:
        OSError: a file cannot be read.
    """
    lengths = _group_equal(image_status(file).size for file in files)
    groups = []
    with ThreadPoolExecutor(THREADS) as pool:
        for indices in lengths:
            digests = list(pool.map(content_hash, [files[index] for index in indices]))
            groups += [[indices[index] for index in group] for group in _group_equal(digests)]
    return sorted(groups)


def _group_equal(values: Iterable[object]) -> list[list[int]]:
    """Indices of values that occur at least twice, by value."""
    indices = defaultdict[object, list[int]](list)
    for index, value in enumerate(values):
        indices[value].append(index)
    return [group for group in indices.values() if len(group) > 1]


def content_hash(file: Path) -> bytes:
    """A 128-bit hash of the file."""
    digest = blake2b(digest_size=16)
    with open_image_file(file) as stream:
        while piece := stream.read(PIECE):
            digest.update(piece)
    return digest.digest()


def format_of(file: Path) -> str:
    """Image format detected from the first bytes, whatever the file name."""
    try:
        with open_image_file(file) as stream:
            start = stream.read(HEAD)
    except OSError:
        return UNREADABLE
    return format_of_bytes(start) or OTHER
