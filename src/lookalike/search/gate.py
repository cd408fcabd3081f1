"""Checks of photos before they are enrolled: size, blur, copies, and resemblance to another identity."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from lookalike.data.table import Table
from lookalike.errors import LookalikeError
from lookalike.evaluation.identification import FPIR, IdentificationPoint
from lookalike.evaluation.validation_vectors import Validation
from lookalike.prepare.duplicates.copies import find_copies
from lookalike.prepare.duplicates.signatures import MEASURES, Signatures, read_signatures
from lookalike.search.hits import Hits
from lookalike.search.identify import identification_point
from lookalike.search.index import Index

log = logging.getLogger(__name__)
Gate = Literal["warn", "refuse", "off"]
Kind = Literal["small", "blurred", "near_copy", "other_identity"]
SMALL = 32
"""Pixels of the shorter side below which a photo is small, as in `lookalike clean`."""
BLURRED = 0.15
"""Sharpness (see `Reading.measures`) below which a photo is blurred. Sharp photos and drawings have 0.35 and
more; a Gaussian blur of 1 % of the shorter side makes it 0.1 to 0.2, one of 2 % less than 0.1."""
SIMILAR = 0.9
"""Similarity from which an enrolled photo is compared pixel by pixel."""
LOOKED_AT = 3
"""Enrolled photos that each photo is compared with."""


@dataclass(frozen=True)
class Remark:
    """Why a photo should not be enrolled without a look.

    Attributes:
        photo: its position among the photos.
        kind: small, blurred, near_copy or other_identity.
        text: the reason with figures.
    """

    photo: int
    kind: Kind
    text: str


def check_enrolment(
    index: Index,
    files: Sequence[str],
    vectors: np.ndarray,
    identity: str | None = None,
    validation: Validation = None,
    fpir: float = FPIR,
) -> list[Remark]:
    """What speaks against enrolling photos, by photo.

    Args:
        index: the enrolled identities.
        files: of the photos; one that is not there, such as a name of a vector, has no size and blur.
        vectors: of the photos, [n, D].
        identity: as which they are enrolled; None if unknown.
        validation: as in `Index.identify`; without any, resemblance is judged by the threshold of `verify`.
        fpir: as in `Index.identify`.
    """
    remarks = list[Remark]()
    rows = [row for row, file in enumerate(files) if Path(file).is_file()]
    if rows:
        table = Table(pl.DataFrame({"path": [str(Path(files[row]).resolve()) for row in rows]}), Path("/"))
        signatures = read_signatures(table, measure=True)
        remarks += [Remark(rows[each.photo], each.kind, each.text) for each in _check_quality(signatures)]
    if len(index):
        hits = index.search(vectors, LOOKED_AT)
        remarks += _find_copies(index, files, hits)
        remarks += _find_others(index, vectors, identity, _limits(index, validation, fpir))
    return sorted(remarks, key=lambda remark: remark.photo)


def _check_quality(signatures: Signatures) -> list[Remark]:
    remarks = list[Remark]()
    sharpness = signatures.measures[:, MEASURES.index("sharpness")]
    for row, ((width, height), value) in enumerate(zip(signatures.sizes.tolist(), sharpness, strict=True)):
        if 0 < min(width, height) < SMALL:
            text = f"is small: {width} × {height} pixels, fewer than {SMALL} on the shorter side"
            remarks.append(Remark(row, "small", text))
        elif value < BLURRED:
            text = f"is blurred: sharpness {value:.2f}, less than {BLURRED:g}"
            remarks.append(Remark(row, "blurred", text))
    return remarks


def _find_copies(index: Index, files: Sequence[str], results: Sequence[Hits]) -> list[Remark]:
    """Photos whose pixels are those of a photo that is enrolled already."""
    pairs = [
        (row, hit)
        for row, hits in enumerate(results)
        for hit in hits
        if hit.similarity >= SIMILAR
        and hit.box is None
        and Path(files[row]).is_file()
        and Path(hit.path).is_file()
    ]
    if not pairs:
        return []
    paths = [str(Path(path).resolve()) for row, hit in pairs for path in (files[row], hit.path)]
    table = Table(pl.DataFrame({"path": paths}), Path("/"))
    groups = np.repeat(np.arange(len(pairs)), 2)
    copies = find_copies(table, read_signatures(table), within=groups).duplicates
    remarks: dict[int, Remark] = {}
    for one, _ in copies.pairs.tolist():
        row, hit = pairs[groups[one]]
        text = f"is a copy of {hit.path}, which is enrolled as {hit.label}"
        remarks.setdefault(row, Remark(row, "near_copy", text))
    return list(remarks.values())


def _limits(index: Index, validation: Validation, fpir: float) -> tuple[float, float] | None:
    """Similarities from which another identity is resembled: if it is nearer than the own one, and anyway."""
    try:
        point: IdentificationPoint = identification_point(index, fpir, validation)
    except (LookalikeError, ValueError) as error:
        if validation is not None:
            raise
        if index.threshold is None:
            log.info("resemblance to other identities is not checked: %s", error)
            return None
        return index.threshold, index.threshold
    return point.threshold_low, point.threshold


def _find_others(
    index: Index, vectors: np.ndarray, identity: str | None, limits: tuple[float, float] | None
) -> list[Remark]:
    """Photos that resemble an identity other than the one that they are enrolled as."""
    if limits is None:
        return []
    remarks = list[Remark]()
    labels = index.table.frame["label"]
    own_rows = np.flatnonzero((labels.cast(pl.String) == (identity or "")).to_numpy())
    for row, hits in enumerate(index.search(vectors, 2, by="label")):
        others = [hit for hit in hits if str(hit.label) != identity]
        if not others:
            continue
        similarity = others[0].similarity
        unit = vectors[row] / np.linalg.norm(vectors[row])
        is_nearer = len(own_rows) > 0 and similarity > float((index.vectors[own_rows] @ unit).max())
        if similarity >= limits[1] or (is_nearer and similarity >= limits[0]):
            text = (
                f"resembles {others[0].label} (similarity {similarity:.3f}, threshold {limits[1]:.3f}); if "
                "they are the same, enrol it with that identity"
            )
            remarks.append(Remark(row, "other_identity", text))
    return remarks
