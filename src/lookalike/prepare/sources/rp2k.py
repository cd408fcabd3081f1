"""RP2K (Peng et al., 2020): products on the shelves of Chinese shops, cut out of larger photos."""

from lookalike.prepare.sources.annotations import ParsedTable, check_public_table
from lookalike.prepare.sources.class_folders import class_folders
from lookalike.prepare.sources.public import Archive, Piece, PublicSet, Raw

ZIP = Archive(
    "rp2k_dataset.zip",
    "https://blob-nips2020-rp2k-dataset.obs.cn-east-3.myhuaweicloud.com/rp2k_dataset.zip",
    size=6_330_687_649,
    checksum="sha256:4c32449993e720285865405c3b46d2958cb36f33a9d7db6c3d70bde49d580205",
)
SET = PublicSet(
    name="rp2k",
    title="RP2K",
    licence="research, see its page",
    size="6.3 GB",
    page="https://www.pinlandata.com/rp2k_dataset/",
    pieces=(Piece("all/train", (ZIP,)), Piece("all/test", (ZIP,))),
)


def table(raw: Raw, official_split: bool = True) -> ParsedTable:
    """Folders all/train and all/test, which contain the same classes; labels are the Chinese names.

    Args:
        raw: where its files are.
        official_split: false splits the classes by val= and test= instead.

    Raises:
        DataError: a file is missing or damaged.
    """
    paths, root = raw.open(SET), raw.root(SET)
    frame, wrong = class_folders({split: paths[f"all/{split}"] for split in ("train", "test")}, root)
    return check_public_table(frame, root, SET, wrong, keep_split=official_split)
