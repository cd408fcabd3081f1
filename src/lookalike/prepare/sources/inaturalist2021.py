"""iNaturalist 2021 (Van Horn et al.): photos of 10,000 species."""

from pathlib import Path
from typing import Any, Literal

import polars as pl

from lookalike.errors import DataError, Problem
from lookalike.prepare.sources.annotations import (
    FROM,
    ROW,
    ParsedTable,
    check_public_table,
    join_by_key,
    join_labels,
    read_json,
)
from lookalike.prepare.sources.public import Archive, Piece, PublicSet, Raw

BUCKET = "https://ml-inat-competition-datasets.s3.amazonaws.com/2021"
SUMS = {
    "train": ("e0526d53c7f7b2e3167b2b43bb2690ed", "38a7bb733f7a09214d44293460ec0021"),
    "train_mini": ("db6ed8330e634445efc8fec83ae81442", "395a35be3651d86dc3b0d365b8ea5f92"),
    "val": ("f6f6e0e242e3d4c9569ba56400938afc", "4d761e0f6a86cc63e8f7afc91f6a8f0b"),
}
BYTES = {"train": 239_909_164_970, "train_mini": 44_636_137_542, "val": 8_931_661_582}
TEXTS = ("file_name", "name")
Part = tuple[pl.DataFrame, list[Problem]]
COUNTS = {"train": 2_686_843, "train_mini": 500_000}


def describe_set(images: str) -> PublicSet:
    """The files for the full or the small training set."""
    pieces = []
    for name in (images, "val"):
        for holds, md5 in zip((name, f"{name}.json"), SUMS[name], strict=True):
            file = f"{holds}.tar.gz"
            archive = Archive(file, f"{BUCKET}/{file}", BYTES.get(holds), f"md5:{md5}")
            pieces.append(Piece(holds, (archive,)))
    return PublicSet(
        name="inaturalist2021",
        title="iNaturalist 2021",
        licence="non-commercial research; licence per photo",
        size="249 GB (train), 54 GB (train_mini), both including the images of val",
        page="https://github.com/visipedia/inat_comp/tree/master/2021",
        pieces=tuple(pieces),
        choice="Or the other training images: source.images=train_mini or source.images=train.",
        counts={"train": (COUNTS[images], 10_000), "test": (100_000, 10_000)},
    )


def table(
    raw: Raw, images: Literal["train", "train_mini"] = "train_mini", official_split: bool = True
) -> ParsedTable:
    """The training and validation lists, which contain the same species; the latter is for testing.

    Labels are the names of the species.

    Args:
        raw: where its files are.
        images: train_mini, 50 images of each species, or train, all of them.
        official_split: false splits the classes by val= and test= instead.

    Raises:
        DataError: a file is missing or differs from the published format.
    """
    public_set = describe_set(images)
    paths, root = raw.open(public_set), raw.root(public_set)
    frames, wrong = [], []
    for name, split in ((images, "train"), ("val", "test")):
        frame, bad = read_coco(paths[f"{name}.json"])
        start = paths[name].parent.relative_to(root).as_posix()
        path = pl.concat_str(pl.lit(f"{start}/".removeprefix("./")), pl.col("path"))
        frames.append(frame.with_columns(path=path, split=pl.lit(split)))
        wrong += bad
    frame = pl.concat(frames)
    return check_public_table(frame, root, public_set, wrong, keep_split=official_split)


def read_coco(file: Path) -> tuple[pl.DataFrame, list[Problem]]:
    """Path and label of each image of a list in COCO's form: images, annotations, categories.

    Raises:
        DataError: one of the three is missing or has other fields.
    """
    content = read_json(file)
    if not isinstance(content, dict):
        raise DataError(f"{file}: must hold images, annotations and categories")
    images, wrong = _read_part(file, content, "images", {"id": "image_id", "file_name": "path"})
    labels, bad = _read_part(
        file, content, "annotations", {"image_id": "image_id", "category_id": "category_id"}
    )
    names, odd = _read_part(file, content, "categories", {"id": "category_id", "name": "label"})
    frame, unequal = join_by_key(images, labels, "image_id", of="class")
    frame, unknown = join_labels(frame, names, "category_id", of="class")
    return frame.select("path", "label", FROM, ROW), [*wrong, *bad, *odd, *unequal, *unknown]


def _read_part(file: Path, content: dict[str, Any], part: str, names: dict[str, str]) -> Part:
    """One of the lists, with renamed fields; entries with other fields are left out and listed."""
    entries = content.get(part)
    if not isinstance(entries, list) or not entries:
        raise DataError(f"{file}: has no list {part!r}; it contains {', '.join(content) or 'nothing'}")
    kinds = [str if name in TEXTS else int for name in names]
    source, rows, wrong = f"{file.name} ({part})", [], []
    for row, entry in enumerate(entries):
        values = [entry.get(name) if isinstance(entry, dict) else None for name in names]
        if all(_has_type(kind, value) for value, kind in zip(values, kinds, strict=True)):
            rows.append((*values, source, row))
        else:
            values_text = " ".join(f"{name}={value!r:.60}" for name, value in zip(names, values, strict=True))
            wrong.append(
                Problem(source, f"{values_text}: must be whole numbers, {' and '.join(TEXTS)} text", row)
            )
    if not rows:
        raise DataError(f"{file}: {part} must have the fields {' and '.join(names)}", wrong)
    schema = [pl.String if kind is str else pl.Int64 for kind in kinds]
    columns = dict(zip(names.values(), schema, strict=True)) | {FROM: pl.String, ROW: pl.Int64}
    return pl.DataFrame(rows, schema=columns, orient="row"), wrong


def _has_type(kind: type, value: Any) -> bool:
    return type(value) is kind and (kind is str or -(2**63) <= value < 2**63)
