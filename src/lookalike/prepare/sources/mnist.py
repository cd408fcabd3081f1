"""MNIST (LeCun et al., 1998): 70,000 handwritten digits of 28 × 28 pixels."""

from lookalike.prepare.sources.annotations import ParsedTable
from lookalike.prepare.sources.idx import idx_pieces, read_images
from lookalike.prepare.sources.public import PublicSet, Raw

SET = PublicSet(
    name="mnist",
    title="MNIST",
    licence="CC BY-SA 3.0",
    size="12 MB",
    page="http://yann.lecun.com/exdb/mnist/",
    pieces=idx_pieces(
        "https://ossci-datasets.s3.amazonaws.com/mnist",
        "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "d53e105ee54ea40749a09fcbcd1e9432",
        "9fb629c4189551a2d022fa330f9573f3",
        "ec29112dd5afa0611ce80d1b7f02629c",
    ),
    counts={"train": (60_000, 10), "test": (10_000, 10)},
)


def table(raw: Raw, official_split: bool = True) -> ParsedTable:
    """Labels are the digits; both halves of the official split contain all ten.

    The images are written as PNG to a folder `png` beside the downloaded files.

    Args:
        raw: where its files are.
        official_split: false splits the digits by val= and test= instead.

    Raises:
        DataError: a file is missing, damaged or truncated.
    """
    return read_images(raw, SET, [str(digit) for digit in range(10)], official_split)
