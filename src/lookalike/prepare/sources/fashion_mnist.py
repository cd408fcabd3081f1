"""Fashion-MNIST (Xiao et al., 2017): 70,000 pieces of clothing of 28 × 28 pixels."""

from lookalike.prepare.sources.annotations import ParsedTable
from lookalike.prepare.sources.idx import idx_pieces, read_images
from lookalike.prepare.sources.public import PublicSet, Raw

SET = PublicSet(
    name="fashion_mnist",
    title="Fashion-MNIST",
    licence="MIT",
    size="31 MB",
    page="https://github.com/zalandoresearch/fashion-mnist",
    pieces=idx_pieces(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
        "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "25c81989df183df01b3e8a0aad5dffbe",
        "bef4ecab320f06d8554ea6380940ec79",
        "bb300cfdad3c16e7a12a480ee83cd310",
    ),
    counts={"train": (60_000, 10), "test": (10_000, 10)},
)
NAMES = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
]


def table(raw: Raw, official_split: bool = True) -> ParsedTable:
    """Labels are the names of the ten classes; both halves of the official split contain all of them.

    The images are written as PNG to a folder `png` beside the downloaded files.

    Args:
        raw: where its files are.
        official_split: false splits the kinds by val= and test= instead.

    Raises:
        DataError: a file is missing, damaged or truncated.
    """
    return read_images(raw, SET, NAMES, official_split)
