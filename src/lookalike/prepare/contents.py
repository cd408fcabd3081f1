"""Files by what is in them: which are the same to the last byte, and what format each really has."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from pathlib import Path

from lookalike.data.formats import HEAD, format_of_bytes
from lookalike.data.shards import opened, status

PIECE = 1 << 20
THREADS = 4
OTHER, UNREADABLE = "other", "unreadable"


def same_files(files: Sequence[Path]) -> list[list[int]]:
    """The places of files with the same bytes, in groups of two or more, in order.

    Only files of the same length are read.

    Raises:
        OSError: a file cannot be read.
    """
    lengths = _grouped(status(file).size for file in files)
    found = []
    with ThreadPoolExecutor(THREADS) as pool:
        for places in lengths:
            digests = list(pool.map(content_hash, [files[place] for place in places]))
            found += [[places[one] for one in group] for group in _grouped(digests)]
    return sorted(found)


def _grouped(values: Iterable[object]) -> list[list[int]]:
    """The places of values that occur twice or more."""
    places = defaultdict[object, list[int]](list)
    for place, value in enumerate(values):
        places[value].append(place)
    return [group for group in places.values() if len(group) > 1]


def content_hash(file: Path) -> bytes:
    """128 bits that differ where a single byte does."""
    digest = blake2b(digest_size=16)
    with opened(file) as stream:
        while piece := stream.read(PIECE):
            digest.update(piece)
    return digest.digest()


def format_of(file: Path) -> str:
    """The format of a picture by its first bytes, whatever its name says."""
    try:
        with opened(file) as stream:
            start = stream.read(HEAD)
    except OSError:
        return UNREADABLE
    return format_of_bytes(start) or OTHER
