"""Image file formats: extensions and magic bytes."""

ENDINGS_OF = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png",),
    "WebP": (".webp",),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"),
    "HEIC": (".heic", ".heif", ".hif"),
    "AVIF": (".avif",),
    "netpbm": (".ppm", ".pgm", ".pbm", ".pnm"),
}
"""The supported formats with their extensions; the first one is the usual one."""
ENDINGS = tuple(ending for endings in ENDINGS_OF.values() for ending in endings)

STARTS = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG": "PNG",
    b"RIFF": "WebP",
    b"BM": "BMP",
    b"GIF8": "GIF",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
}
AVIF_BRANDS = {b"avif", b"avis"}
HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
OTHERS = {
    b"%PDF": "a PDF",
    b"PK\x03\x04": "a zip archive",
    b"8BPS": "a Photoshop file",
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"<!DOCTYPE html": "a web page",
    b"<!doctype html": "a web page",
    b"<html": "a web page",
    b"<svg": "SVG, a drawing",
    b"<?xml": "XML",
    b"\0\0\x01\0": "an icon",
    b"fLaC": "audio",
    b"OggS": "audio or video",
    b"\x1aE\xdf\xa3": "a video",
    b"SQLite format 3": "a database",
    b"version https://g": "a Git LFS pointer: fetch the files with `git lfs pull`",
}
HEAD = 64
"""Number of bytes at the start of a file needed to detect its format."""


def format_of_bytes(start: bytes) -> str | None:
    """The format of an image by the first bytes of its file; None if unsupported.

    Args:
        start: `HEAD` bytes, or all of a shorter file.
    """
    known = next((name for sign, name in STARTS.items() if start.startswith(sign)), None)
    if known == "WebP" and len(start) >= 12 and start[8:12] != b"WEBP":
        return None
    if known:
        return known
    if start[:1] == b"P" and start[1:2] in b"123456" and start[2:3] in (b" ", b"\t", b"\r", b"\n", b"#"):
        return "netpbm"
    brands = _brands(start)
    if brands & AVIF_BRANDS:
        return "AVIF"
    return "HEIC" if brands & HEIC_BRANDS else None


def describe_content(start: bytes) -> str:
    """A description of another file type by its first bytes; empty if unknown."""
    brands = _brands(start)
    if brands:
        raw = b"crx " in brands
        return "a camera raw file (CR3)" if raw else "a video (MP4 or QuickTime)"
    if start[:4] == b"RIFF":
        return "audio or video"
    return next((text for sign, text in OTHERS.items() if start.startswith(sign)), "")


def _brands(start: bytes) -> set[bytes]:
    """The brands of an ISO media file, such as HEIC, AVIF and MP4."""
    if start[4:8] != b"ftyp":
        return set()
    end = min(int.from_bytes(start[:4], "big"), len(start))
    return {start[8:12]} | {start[index : index + 4] for index in range(16, end - 3, 4)}
