"""Findings about photos: copies, bursts, leaks between splits, and images of poor quality."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

from lookalike.clean.findings import Finding
from lookalike.data.table import Table
from lookalike.prepare.duplicates.copies import Copies
from lookalike.prepare.duplicates.grouping import star_groups
from lookalike.prepare.duplicates.signatures import MEASURES, Signatures

SAME_SCENE = 0.8
"""Correlation of pixels from which two photos show one scene."""
FLAT_SHARE = 0.3
"""Share of pixels of one colour from which an image is a drawing, not a photo."""
SMALL, NARROW = 32, 3.0
"""Pixels of the shorter side below which an image is too small; aspect ratio from which one is unusual."""
FAR_OUT = 5.0
"""Robust standard deviations from which a measure is unusual in its dataset."""
EXPOSED = 0.5
"""Share of black or white pixels below which exposure is never remarked on."""
SHARED_LABELS = 0.5
"""Share of the identities of a split that are in train, too, from which this is the way it was divided."""


def find_duplicates(table: Table, signatures: Signatures, copies: Copies) -> Iterator[Finding]:
    """Each copy with the image of its group to keep."""
    duplicates = copies.duplicates
    facts = {(a, b): (score, exact) for a, b, score, exact in _pairs(duplicates)}
    labels = table.frame["label"].to_list()
    train = _is_train(table)
    for number, (kept, *others) in enumerate(star_groups(duplicates.pairs, signatures.areas)):
        for row in others:
            score, exact = facts[min(kept, row), max(kept, row)]
            same = labels[row] == labels[kept]
            text = "all pixels are equal" if exact else _sizes_text(signatures, kept, row)
            text += "" if same else f"; labels {labels[kept]!r} and {labels[row]!r}"
            change = "drop_b" if same and train[row] == train[kept] else "none"  # else it is a leak
            yield Finding("near_duplicate", kept, row, score, change, text, number)


def _pairs(copies: Copies) -> Iterator[tuple[int, int, float, bool]]:
    for (a, b), score, exact in zip(copies.pairs.tolist(), copies.scores.tolist(), copies.exact, strict=True):
        yield a, b, score, bool(exact)


def _sizes_text(signatures: Signatures, a: int, b: int) -> str:
    (w, h), (x, y) = signatures.sizes[a].tolist(), signatures.sizes[b].tolist()
    return f"same photo, {w} × {h} and {x} × {y} pixels"


def find_bursts(table: Table, signatures: Signatures, copies: Copies) -> Iterator[Finding]:
    """Photos of one scene that are not copies of each other."""
    photo = _are_photos(signatures)
    mask = (copies.scores < 0.5) & (copies.correlations >= SAME_SCENE) & photo[copies.pairs].all(1)
    bursts = copies.take(mask)
    strength = dict(zip(map(tuple, bursts.pairs.tolist()), bursts.correlations.tolist(), strict=True))
    for number, (first, *others) in enumerate(star_groups(bursts.pairs, signatures.areas)):
        for row in others:
            correlation = strength[min(first, row), max(first, row)]
            yield Finding(
                "burst", first, row, correlation, "none", f"same scene, correlation {correlation:.2f}", number
            )


def _are_photos(signatures: Signatures) -> np.ndarray:
    """Which images have few pixels of exactly one brightness, bool [N]; drawings resemble one another
    anyway.
    """
    flat = np.array([np.bincount(grey.ravel() >> 1, minlength=128).max() for grey in signatures.grey])
    return flat < FLAT_SHARE * signatures.grey[0].size if len(flat) else np.empty(0, bool)


def find_leaks(table: Table, findings: Sequence[Finding]) -> Iterator[Finding]:
    """What train shares with another split: copies, bursts, encounters, days, and a few identities."""
    if "split" not in table.frame.columns:
        return
    train = _is_train(table)
    number = 0
    for finding in findings:
        a, b = finding.row_a, finding.row_b
        if b is None or train[a] == train[b] or finding.kind not in ("near_duplicate", "burst"):
            continue
        relation = "same photo" if finding.kind == "near_duplicate" else "same scene"
        inside, outside = (a, b) if train[a] else (b, a)
        drop = ("drop_a" if train[a] else "drop_b") if finding.kind == "near_duplicate" else "none"
        splits = table.frame["split"]
        text = f"{relation} in {splits[inside]} and {splits[outside]}"
        yield Finding("leak", a, b, finding.score, drop, text, number)
        number += 1
    for inside, outside, text in [*_shared_encounters(table, train), *_shared_labels(table, train)]:
        yield Finding("leak", inside, outside, 1.0, "none", text, number)
        number += 1


def _is_train(table: Table) -> np.ndarray:
    """Which rows are trained on, bool [N]."""
    if "split" not in table.frame.columns:
        return np.zeros(len(table), bool)
    return (table.frame["split"] == "train").fill_null(False).to_numpy()


def _shared_encounters(table: Table, train: np.ndarray) -> Iterator[tuple[int, int, str]]:
    """An image of train and one of another split that are of one encounter, or of one identity on one day."""
    columns = [name for name in ("encounter", "date") if name in table.frame.columns]
    for name in columns:
        values = table.frame[name].cast(pl.String).to_list()
        labels = table.frame["label"].to_list()
        members = defaultdict[tuple[object, object], list[int]](list)
        for row, (value, label) in enumerate(zip(values, labels, strict=True)):
            if value not in (None, ""):
                members[label, value if name == "encounter" else value[:10]].append(row)
        for (label, value), rows in members.items():
            inside, outside = [row for row in rows if train[row]], [row for row in rows if not train[row]]
            if inside and outside:
                split = table.frame["split"][outside[0]]
                yield inside[0], outside[0], f"{name} {value} of {label!r} is in train and {split}"


def _shared_labels(table: Table, train: np.ndarray) -> Iterator[tuple[int, int, str]]:
    """Identities in train and another split, where most are not."""
    labels = np.array([str(label) for label in table.frame["label"].to_list()], dtype=object)
    splits = np.array(table.frame["split"].to_list(), dtype=object)
    inside = {label: row for row, label in zip(np.flatnonzero(train).tolist(), labels[train], strict=True)}
    for split in sorted(set(splits[~train])):
        outside = {labels[row]: int(row) for row in np.flatnonzero(splits == split)}
        shared = [label for label in outside if label in inside]
        if 0 < len(shared) < SHARED_LABELS * len(outside):
            yield from (
                (inside[label], outside[label], f"identity {label!r} is in train and {split}")
                for label in shared
            )


def find_poor_images(signatures: Signatures) -> Iterator[Finding]:
    """Images that cannot be read, are blank, tiny, blurred, badly exposed or of unusual shape."""
    for problem in signatures.problems:
        yield Finding(
            "quality",
            problem.row or 0,
            None,
            1.0,
            "drop_a",
            f"cannot be read: {problem.reason}",
            problem.row or 0,
        )
    good = np.flatnonzero(signatures.readable)
    blank = signatures.is_blank
    yield from (
        Finding("quality", int(row), None, 0.99, "drop_a", "blank: one colour", int(row))
        for row in good[blank[good]]
    )
    rows = good[~blank[good]]
    remarks: dict[int, tuple[float, str]] = {}
    for score, texts in _remarks(signatures, rows):
        for row, value, text in zip(rows.tolist(), score.tolist(), texts, strict=True):
            if value > 0.5 and value > remarks.get(row, (0.0, ""))[0]:
                remarks[row] = value, text
    for row, (value, text) in sorted(remarks.items()):
        yield Finding("quality", row, None, min(value, 0.98), "none", text, row)


def _remarks(signatures: Signatures, rows: np.ndarray) -> Iterator[tuple[np.ndarray, list[str]]]:
    """Scores of these rows, [R], and what they say, for each kind of defect."""
    if not len(rows):
        return
    sizes = signatures.sizes[rows]
    short, long = sizes.min(1), sizes.max(1)
    yield _squash((SMALL - short) / (SMALL / 4)), [f"small: {w} × {h} pixels" for w, h in sizes.tolist()]
    ratio = long / short
    unusual = np.minimum(_robust_deviation(np.log(ratio)) - FAR_OUT, 4 * (ratio - NARROW))
    yield _squash(unusual), [f"unusual shape: {w} × {h} pixels" for w, h in sizes.tolist()]
    contrast, sharpness, dark, bright = (signatures.measures[rows, index] for index in range(len(MEASURES)))
    blurred = -_robust_deviation(np.log(sharpness + 1e-3)) - FAR_OUT
    yield (
        _squash(blurred),
        [f"blurred: sharpness {value:.2f}, usual {np.median(sharpness):.2f}" for value in sharpness],
    )
    for share, name in ((dark, "underexposed"), (bright, "overexposed")):
        value = np.minimum(_robust_deviation(share) - FAR_OUT, 20 * (share - EXPOSED))
        yield _squash(value), [f"{name}: {part:.0%} of the pixels" for part in share]
    flat = -_robust_deviation(np.log(contrast + 1)) - FAR_OUT
    yield (
        _squash(np.minimum(flat, 16 - contrast)),
        [f"low contrast: {value:.0f} grey levels" for value in contrast],
    )


def _squash(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(np.nan_to_num(values, nan=-9.0), -9, 9)))


def _robust_deviation(values: np.ndarray) -> np.ndarray:
    """Distances from the median, in robust standard deviations, of which one is 0.02 at least."""
    middle = np.nanmedian(values)
    spread = 1.4826 * np.nanmedian(np.abs(values - middle))
    return (values - middle) / max(float(spread), 0.02)
