"""PNG metadata, anywhere in the file, and integrity checks."""

import struct
import zlib
from dataclasses import dataclass
from typing import IO

TRUNCATED = "the file ends too early (truncated)"
SIGNATURE = 8
LONGEST_NOTE = 1 << 24
"""Maximum size of a chunk of EXIF or XMP data, compressed or not; larger ones are not read."""
GREY, COLOUR = 0, 2
XMP_KEY = b"XML:com.adobe.xmp"
PROFILE_KEY = b"Raw profile type exif"  # where ImageMagick stored EXIF before PNG had a chunk for it
NOTE_CHUNKS = (b"IHDR", b"tRNS", b"eXIf", b"iTXt", b"tEXt", b"zTXt")


class DamagedError(Exception):
    """The file is damaged; the text is the reason."""


@dataclass
class Notes:
    """PNG metadata.

    Attributes:
        bits: of each sample.
        kind: 0 grey, 2 colour, 3 palette, 4 grey with alpha, 6 colour with alpha.
        transparent: the transparent grey value or colour, in `bits` bits; None if there is none.
        exif: EXIF data.
        xmp: XMP data.
    """

    bits: int = 8
    kind: int = COLOUR
    transparent: tuple[int, ...] | None = None
    exif: bytes | None = None
    xmp: bytes | None = None


def read_notes(stream: IO[bytes], check: bool) -> Notes:
    """The metadata of a PNG; the position of the stream is restored.

    Args:
        stream: of the file.
        check: read the whole file, and verify the checksums of all critical chunks. Pillow would return wrong
            pixels without an error.

    Raises:
        DamagedError: with `check`, the file is truncated or a checksum is wrong.
    """
    before = stream.tell()
    stream.seek(SIGNATURE)
    notes = Notes()
    try:
        kind = b""
        while kind != b"IEND":
            length, kind = struct.unpack(">I4s", _exactly(stream, 8))
            kinds = kind in NOTE_CHUNKS and length <= LONGEST_NOTE
            if not check and not kinds:
                stream.seek(length + 4, 1)
                continue
            data = _read_chunk_data(stream, kind, length, kinds)
            if kinds:
                _note(notes, kind, data)
    except DamagedError:
        if check:
            raise
    finally:
        stream.seek(before)
    return notes


def _read_chunk_data(stream: IO[bytes], kind: bytes, length: int, keep: bool) -> bytes:
    """The data of a chunk, or empty if it is not needed; its checksum is verified."""
    crc, kept = zlib.crc32(kind), bytearray()
    for start in range(0, length, 1 << 16):
        piece = _exactly(stream, min(1 << 16, length - start))
        crc = zlib.crc32(piece, crc)
        if keep:
            kept += piece
    if struct.unpack(">I", _exactly(stream, 4))[0] != crc:
        if kind[:1].isupper():
            raise DamagedError(f"damaged: the checksum of its {kind.decode('latin-1')} chunk is wrong")
        return b""
    return bytes(kept)


def _note(notes: Notes, kind: bytes, data: bytes) -> None:
    if kind == b"IHDR" and len(data) >= 10:
        notes.bits, notes.kind = data[8], data[9]
    elif kind == b"tRNS":
        count = {GREY: 1, COLOUR: 3}.get(notes.kind, 0)
        if count and len(data) >= 2 * count:
            most = (1 << notes.bits) - 1
            notes.transparent = tuple(value & most for value in struct.unpack_from(f">{count}H", data))
    elif kind == b"eXIf" and data:
        notes.exif = data
    elif kind == b"iTXt" and data.startswith(XMP_KEY + b"\0"):
        notes.xmp = _text(data[len(XMP_KEY) + 1 :]) or notes.xmp
    elif kind in (b"tEXt", b"zTXt") and data.startswith(PROFILE_KEY + b"\0"):
        rest = data[len(PROFILE_KEY) + 1 :]
        notes.exif = notes.exif or _profile(_decompress(rest[1:]) if kind == b"zTXt" else rest)


def _text(data: bytes) -> bytes | None:
    """The text of an iTXt chunk after its key: flags, language, translated key, text."""
    packed, rest = data[:1] == b"\1", data[2:]
    parts = rest.split(b"\0", 2)
    if len(parts) < 3:
        return None
    return _decompress(parts[2]) if packed else parts[2]


def _decompress(data: bytes) -> bytes | None:
    try:
        return zlib.decompressobj().decompress(data, LONGEST_NOTE)
    except zlib.error:
        return None


def _profile(text: bytes | None) -> bytes | None:
    """The data of an ImageMagick profile: a name, a length, and hexadecimal digits."""
    try:
        return bytes.fromhex(b"".join((text or b"").split(b"\n")[3:]).decode("ascii")) or None
    except ValueError:
        return None


def _exactly(stream: IO[bytes], count: int) -> bytes:
    data = stream.read(count)
    if len(data) < count:
        raise DamagedError(TRUNCATED)
    return data
