"""Copies of one photo: exact ones, and those that were resized, compressed, cropped or made brighter."""

import os
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from lookalike.data.decode import open_image
from lookalike.data.shards import open_image_file
from lookalike.data.table import Table
from lookalike.errors import LookalikeError
from lookalike.prepare.duplicates.candidates import candidate_pairs, drop_unlike
from lookalike.prepare.duplicates.grouping import components, star_groups
from lookalike.prepare.duplicates.registration import compare_images
from lookalike.prepare.duplicates.signatures import SIDE, Signatures, blocks, squeeze

DEFAULT_THRESHOLD = 10
LOOSE = -4.0
"""Score of the small copies from which the images themselves are compared."""
SIZES = (160, 96, 64, 48, 32)
"""Pixels a side at which images are compared, none larger than the smaller of the two."""
FINE, FINE_BIAS = 160, 2.75
"""A size at which copies score higher than at those that the score was fitted at, and by how much."""
STILL, FAR = 0.006, 0.045
"""Shares of the width: up to here images lie on each other as they are; from here it is more than a crop."""
STILL_BIAS, MOVED_BIAS, FAR_BIAS = 3.0, 2.0, 2.0
"""What the score of images loses that were stored without loss, are equal in size and differ all the same:
the difference cannot come from resizing or compression. And what it loses for a shift like no crop's."""
LOSSY = (b"\xff\xd8\xff", b"ftyp", b"VP8 ", b"VP8X")
"""What files begin with that may have been compressed with loss: JPEG, HEIC and AVIF, WebP."""
BATCH = 64
CACHED = 512
ROUNDS = 3


@dataclass(frozen=True, eq=False)
class Copies:
    """Pairs of rows that were compared.

    Attributes:
        pairs: rows, int64 [P, 2].
        scores: probability that they are copies of one photo, float64 [P].
        correlations: of their pixels, once one lies over the other, float64 [P].
        exact: whether all pixels are equal, bool [P].
        mirrored: whether one was mirrored, bool [P].
    """

    pairs: np.ndarray
    scores: np.ndarray
    correlations: np.ndarray
    exact: np.ndarray
    mirrored: np.ndarray

    def take(self, mask: np.ndarray) -> "Copies":
        """Some of the pairs."""
        return Copies(*(values[mask] for values in vars(self).values()))

    @property
    def duplicates(self) -> "Copies":
        """The pairs that are more likely copies than not."""
        return self.take(self.scores >= 0.5)


def find_copies(
    table: Table,
    signatures: Signatures,
    threshold: int = DEFAULT_THRESHOLD,
    *,
    mirrored: bool = False,
    within: np.ndarray | None = None,
) -> Copies:
    """The pairs of images that may be copies of one photo, with the probability that they are.

    In a group of copies each is compared with the largest at least. Blank images are copies of the first of
    their colour.

    Args:
        table: rows.
        signatures: of its rows.
        threshold: bits of the 64-bit hash in which copies may differ, 0 to 64.
        mirrored: also find copies that were mirrored.
        within: a number for each row; only rows of equal numbers are compared.
    """
    finder = _Finder(table, signatures, within)
    finder.compare(candidate_pairs(signatures, threshold))
    if mirrored:
        finder.compare(candidate_pairs(signatures, threshold, mirrored=True), mirrored=True)
    finder.add(_blank_pairs(signatures, within))
    finder.complete_groups()
    return finder.result()


class _Finder:
    """The pairs that were compared so far, the better of two results for each."""

    def __init__(self, table: Table, signatures: Signatures, within: np.ndarray | None):
        self.signatures, self.within = signatures, within
        self.images = _Images(table)
        self.compared: dict[tuple[int, int], tuple[float, float, bool, bool]] = {}

    def compare(self, pairs: np.ndarray, mirrored: bool = False) -> None:
        """Compare these pairs; column 1 is the mirrored one."""
        if self.within is not None:
            pairs = pairs[self.within[pairs[:, 0]] == self.within[pairs[:, 1]]]
        pairs = pairs[drop_unlike(self.signatures, pairs, mirrored)]
        scores, correlations = np.empty(len(pairs)), np.empty(len(pairs))
        thumbs = self.signatures.thumbs
        for part in blocks(len(pairs), 4 * BATCH):
            one, other = thumbs[pairs[part, 0]], thumbs[pairs[part, 1]]
            result = compare_images(one, np.ascontiguousarray(other[:, :, ::-1]) if mirrored else other)
            scores[part], correlations[part] = result.score, result.correlation
        promising = np.flatnonzero(scores > LOOSE)
        scores[promising] = self._compare_large(pairs[promising], mirrored)
        for pair, score, correlation in zip(pairs.tolist(), scores, correlations, strict=True):
            self._note((pair[0], pair[1]), 1 / (1 + np.exp(-min(max(score, -50), 50))), correlation, mirrored)

    def _note(self, pair: tuple[int, int], score: float, correlation: float, mirrored: bool) -> None:
        exact = score >= 0.5 and not mirrored and self.images.are_equal(*pair, self.signatures.sizes)
        key = (min(pair), max(pair))
        value = (1.0 if exact else float(score), float(correlation), exact, mirrored)
        self.compared[key] = max(self.compared.get(key, value), value)

    def _compare_large(self, pairs: np.ndarray, mirrored: bool) -> np.ndarray:
        smaller = self.signatures.sizes.min(1)[pairs].min(1) if len(pairs) else np.empty(0)
        scores, shifts = np.empty(len(pairs)), np.empty(len(pairs))
        for side in SIZES:
            larger = [size for size in SIZES if size > side]
            fits = (smaller >= side) | (side == SIDE)
            these = np.flatnonzero(fits & (smaller < min(larger, default=np.inf)))
            for part in blocks(len(these), BATCH):
                rows = pairs[these[part]]
                one, other = (
                    np.stack([self.images.square(row, side) for row in rows[:, axis].tolist()])
                    for axis in (0, 1)
                )
                other = np.ascontiguousarray(other[:, :, ::-1]) if mirrored else other
                result = compare_images(one, other)
                scores[these[part]] = result.score - (FINE_BIAS if side == FINE else 0)
                shifts[these[part]] = result.shift
        return scores - self._bias(pairs, scores, shifts)

    def _bias(self, pairs: np.ndarray, scores: np.ndarray, shifts: np.ndarray) -> np.ndarray:
        """What scores lose, since the differences of these pairs are not those of copies, [P]."""
        bias = np.where(shifts >= FAR, FAR_BIAS, 0.0)
        sizes = self.signatures.sizes[pairs] if len(pairs) else np.empty((0, 2, 2))
        for row in np.flatnonzero((sizes[:, 0] == sizes[:, 1]).all(1) & (scores > 0)):
            if not any(self.images.is_lossy(int(one)) for one in pairs[row]):
                bias[row] += STILL_BIAS if shifts[row] < STILL else MOVED_BIAS
        return bias

    def add(self, pairs: np.ndarray) -> None:
        """Note pairs that need no comparison."""
        for one, other in pairs.tolist():
            exact = self.images.are_equal(one, other, self.signatures.sizes)
            self.compared[one, other] = (1.0, 1.0, exact, False)

    def complete_groups(self) -> None:
        """Compare the largest image of each connected set of copies with all others of it."""
        for _ in range(ROUNDS):
            copies = self.result().duplicates
            missing = [
                (leader, row)
                for leader, *rest in components(copies.pairs, self.signatures.areas)
                for row in rest
                if (min(leader, row), max(leader, row)) not in self.compared
            ]
            if not missing:
                return
            self.compare(np.array(missing))

    def result(self) -> Copies:
        """All pairs, in order."""
        pairs = sorted(self.compared)
        columns = zip(*(self.compared[pair] for pair in pairs), strict=True) if pairs else ([], [], [], [])
        scores, correlations, exact, mirrored = columns
        return Copies(
            np.array(pairs, np.int64).reshape(-1, 2),
            np.array(scores, np.float64),
            np.array(correlations, np.float64),
            np.array(exact, bool),
            np.array(mirrored, bool),
        )


class _Images:
    """The images themselves, the ones used last in memory."""

    def __init__(self, table: Table):
        self.table = table
        self.square = lru_cache(CACHED)(self._square)
        self._pixels = lru_cache(8)(self._read)

    def _square(self, row: int, side: int) -> np.ndarray:
        try:
            image = open_image(os.fspath(self.table.file(row)), self.table.box(row), side)
        except LookalikeError:  # it could be read a moment ago
            return np.zeros((side, side, 3), np.uint8)
        return np.asarray(squeeze(image, side))

    def _read(self, row: int) -> np.ndarray | None:
        try:
            return np.asarray(open_image(os.fspath(self.table.file(row)), self.table.box(row)))
        except LookalikeError:
            return None

    def is_lossy(self, row: int) -> bool:
        """Whether the format of the file suggests that it was compressed with loss."""
        try:
            with open_image_file(os.fspath(self.table.file(row))) as stream:
                head = stream.read(16)
        except (OSError, LookalikeError):  # it could be read a moment ago
            return True
        return head.startswith(LOSSY[0]) or head[4:8] == LOSSY[1] or head[12:16] in LOSSY[2:]

    def are_equal(self, one: int, other: int, sizes: np.ndarray) -> bool:
        """Whether two rows have the same pixels, whatever the format of their files."""
        if (sizes[one] != sizes[other]).any():
            return False
        left, right = self._pixels(one), self._pixels(other)
        return left is not None and right is not None and np.array_equal(left, right)


def _blank_pairs(signatures: Signatures, within: np.ndarray | None) -> np.ndarray:
    """Blank images with the first one of their colour, int64 [P, 2]."""
    rows = np.flatnonzero(signatures.is_blank)
    colours = np.rint(signatures.thumbs[rows].mean((1, 2)) / 4).astype(np.int64)
    keys = colours if within is None else np.concatenate([colours, within[rows, None]], 1)
    if not len(rows):
        return np.empty((0, 2), np.int64)
    _, first, inverse = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    pairs = np.stack([rows[first[inverse.ravel()]], rows], 1)
    return pairs[pairs[:, 0] != pairs[:, 1]]


def copy_groups(copies: Copies, signatures: Signatures) -> list[list[int]]:
    """Groups of copies, the image to keep first: the largest one, of equal ones the earliest row.

    Every member was compared with the first and found to be a copy of it.
    """
    return star_groups(copies.duplicates.pairs, signatures.areas)
