"""iNaturalist 2018 with the classes split for retrieval (Brown et al., 2020, arXiv 2007.12163)."""

import polars as pl

from lookalike.prepare.sources.annotations import FROM, ROW, ParsedTable, check_public_table, read_fields
from lookalike.prepare.sources.public import Archive, Piece, PublicSet, Raw

URL = "https://ml-inat-competition-datasets.s3.amazonaws.com/2018/train_val2018.tar.gz"
SPLITS = Archive("Inat_dataset_splits.zip")
SET = PublicSet(
    name="inaturalist2018",
    title="iNaturalist 2018, classes divided",
    licence="non-commercial research; licence per photo",
    size="120 GB",
    page="https://github.com/Andrew-Brown1/Smooth_AP",
    pieces=(
        Piece(
            "train_val2018",
            (Archive("train_val2018.tar.gz", URL, checksum="md5:b1c6952ce38f31868cc50ea72d066cc3"),),
        ),
        Piece("Inaturalist_train_set1.txt", (SPLITS,)),
        Piece("Inaturalist_test_set1.txt", (SPLITS,)),
    ),
    login="Its page links to Inat_dataset_splits.zip in a shared folder that needs a browser.",
    counts={"train": (325_846, 5_690), "test": (136_093, 2_452)},
)


def table(raw: Raw) -> ParsedTable:
    """The two lists of paths, without common classes; labels are `Aves/2761`, the two folders of the path.

    Args:
        raw: where its files are.

    Raises:
        DataError: a file is missing or differs from the published format.
    """
    paths = raw.open(SET)
    frames, wrong = [], []
    for split in ("train", "test"):
        frame, bad = read_fields(paths[f"Inaturalist_{split}_set1.txt"], ("path",), last_is_rest=True)
        label = pl.col("path").str.extract(r"([^/]+/[^/]+)/[^/]+$")
        frames.append(frame.select("path", FROM, ROW, label=label, split=pl.lit(split)))
        wrong += bad
    return check_public_table(pl.concat(frames), paths["train_val2018"].parent, SET, wrong)
