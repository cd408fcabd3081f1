"""All pairs of hashes within a Hamming distance, exactly, for up to millions of hashes.

Multi-index hashing (Norouzi et al. 2012, arXiv:1307.2982): hashes are cut into `radius + t` blocks of bits.
Two hashes that differ in at most `radius` bits agree in at least `t` blocks, so they meet in one of the
buckets of hashes that agree in `t` blocks. A pair is reported only for the first `t` blocks in which it
agrees, which makes it unique without a list of what was reported.
"""

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import combinations, pairwise

import numpy as np

BITS = 64
DENSE = 1024
"""Members of a bucket from which they are taken for one cluster, if they lie close together."""
FEWEST_COLLAPSED = 128
"""Members of a cluster from which it is represented by its centre."""
SHORT_KEY = 16
"""Bits of a key up to which NumPy sorts by radix."""
CELLS = 1 << 17
"""Comparisons at once; they stay in the cache of a core."""
SORT_COST, LONG_SORT_COST, COMPARE_COST = 60e-9, 200e-9, 1e-9
"""Seconds per hash and per pair; only their ratios matter, for choosing the number of blocks."""
THREADS = 2


@dataclass(frozen=True)
class HashPairs:
    """Pairs of rows whose hashes are close.

    Attributes:
        first: rows, int64 [P].
        second: the other rows, int64 [P].
        distance: number of bits that differ, uint8 [P].
    """

    first: np.ndarray
    second: np.ndarray
    distance: np.ndarray

    def __len__(self) -> int:
        return len(self.first)


def hamming_pairs(hashes: np.ndarray, radius: int) -> HashPairs:
    """The pairs of hashes that differ in at most `radius` bits.

    Two cases would have as many pairs as the square of their size, and are linked to one row each: rows with
    equal hashes (to the first of them, which alone takes part in other pairs), and clusters of more than a
    thousand hashes, of which those within half the radius of the centre are linked to the centre.

    Args:
        hashes: uint64 [N].
        radius: from 0 to 64.

    Raises:
        ValueError: `radius` is out of range, or the hashes are not uint64 [N].
    """
    hashes = np.asarray(hashes)
    if hashes.dtype != np.uint64 or hashes.ndim != 1:
        raise ValueError(f"hashes: must be uint64 [N], got {hashes.dtype} {list(hashes.shape)}")
    if not 0 <= radius <= BITS:
        raise ValueError(f"radius={radius}: must be from 0 to {BITS}")
    unique, rows, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    equal = np.flatnonzero(rows[inverse] != np.arange(len(hashes)))
    parts = [(rows[inverse[equal]], equal, np.zeros(len(equal), np.uint8))]
    if radius:
        parts += [(rows[one], rows[other], bits) for one, other, bits in _unique_pairs(unique, radius)]
    first, second, distance = (np.concatenate(column) for column in zip(*parts, strict=True))
    return HashPairs(np.minimum(first, second), np.maximum(first, second), distance)


Pairs = tuple[np.ndarray, np.ndarray, np.ndarray]


def _unique_pairs(hashes: np.ndarray, radius: int) -> Iterator[Pairs]:
    """Pairs of different hashes, as positions and distance."""
    blocks, agreeing = choose_blocks(len(hashes), radius)
    masks = block_masks(blocks)
    alive = np.arange(len(hashes))
    if agreeing:
        for centre, members in _dense_clusters(hashes, masks, agreeing, radius):
            bits = np.bitwise_count(hashes[members] ^ hashes[centre])
            yield np.full(len(members), centre), members, bits
            alive = np.setdiff1d(alive, members, assume_unique=True)
    values = hashes[alive]
    join = partial(_join, values, masks, radius)
    with ThreadPoolExecutor(THREADS) as pool:
        for one, other, bits in pool.map(join, combinations(range(blocks), agreeing)):
            yield alive[one], alive[other], bits


def choose_blocks(count: int, radius: int) -> tuple[int, int]:
    """Into how many blocks hashes are cut, and in how many two of them must agree, for the least work."""

    def cost(agreeing: int) -> float:
        blocks = radius + agreeing
        key = BITS * agreeing / blocks
        sort = (SORT_COST if math.ceil(key) <= SHORT_KEY else LONG_SORT_COST) if agreeing else 0
        return math.comb(blocks, agreeing) * (sort * count + COMPARE_COST * count**2 / 2 ** (key + 1))

    choices = [agreeing for agreeing in range(5) if radius + agreeing <= BITS]
    agreeing = min(choices, key=cost)
    return radius + agreeing, agreeing


def block_masks(blocks: int) -> np.ndarray:
    """The bits of each block, uint64 [blocks]; sizes differ by one bit at most."""
    edges = np.linspace(0, BITS, blocks + 1).round().astype(int).tolist()
    return np.array([(1 << high) - (1 << low) for low, high in pairwise(edges)], np.uint64)


def _keys(hashes: np.ndarray, masks: np.ndarray, combination: Sequence[int]) -> np.ndarray:
    """The bits of some blocks, side by side, in the smallest type that holds them."""
    key, shift = np.zeros(len(hashes), np.uint64), 0
    for block in combination:
        mask = int(masks[block])
        low = (mask & -mask).bit_length() - 1
        key |= ((hashes & np.uint64(mask)) >> np.uint64(low)) << np.uint64(shift)
        shift += mask.bit_count()
    return key.astype(np.uint16 if shift <= SHORT_KEY else np.uint64)


def _buckets(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions in the order of their keys, and where each bucket starts in it and how long it is."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    return order, starts, np.diff(np.r_[starts, len(keys)])


def _join(hashes: np.ndarray, masks: np.ndarray, radius: int, combination: Sequence[int]) -> Pairs:
    """The pairs whose first blocks that agree are these.

    Buckets of one size are laid side by side, [size, buckets], so that comparing every member with the one
    `shift` places on is one operation on two contiguous arrays.
    """
    order, starts, sizes = _buckets(_keys(hashes, masks, combination))
    matches: list[Pairs] = []
    for size in np.unique(sizes[sizes > 1]).tolist():
        these = starts[sizes == size]
        step = max(1, CELLS // size)
        for begin in range(0, len(these), step):
            part = these[begin : begin + step]
            rows = order[part[None] + np.arange(size)[:, None]].ravel()
            matches += _compare(hashes[rows], rows, size, radius)
    if not matches:
        empty = np.empty(0, np.int64)
        return empty, empty, np.empty(0, np.uint8)
    one, other, bits = (np.concatenate(column) for column in zip(*matches, strict=True))
    first = _agree_first(hashes[one] ^ hashes[other], masks, combination)
    return one[first], other[first], bits[first]


def _compare(values: np.ndarray, rows: np.ndarray, size: int, radius: int) -> Iterator[Pairs]:
    """Close pairs within buckets that lie side by side, flattened from [size, buckets]."""
    width = len(values) // size
    for shift in range(1, size):
        bits = np.bitwise_count(values[shift * width :] ^ values[: len(values) - shift * width])
        close = np.flatnonzero(bits <= radius)
        if len(close):
            yield rows[close], rows[close + shift * width], bits[close]


def _agree_first(differences: np.ndarray, masks: np.ndarray, combination: Sequence[int]) -> np.ndarray:
    """Which pairs agree in no further block before the last one of these."""
    if not combination:
        return np.ones(len(differences), bool)
    agreeing = np.zeros(len(differences), np.uint8)
    for mask in masks[: combination[-1] + 1]:
        agreeing += (differences & mask) == 0
    return agreeing == len(combination)


def _dense_clusters(
    hashes: np.ndarray, masks: np.ndarray, agreeing: int, radius: int
) -> Iterator[tuple[int, np.ndarray]]:
    """Of each crowded bucket a central hash, and those that lie with it in a ball of half the radius.

    All members of such a ball are within the radius of one another. No hash is in two balls.
    """
    alive = np.ones(len(hashes), bool)
    for start in range(0, len(masks) - agreeing + 1, agreeing):
        combination = range(start, start + agreeing)
        order, starts, sizes = _buckets(_keys(hashes, masks, combination))
        for position in np.flatnonzero(sizes >= DENSE):
            members = order[starts[position] : starts[position] + sizes[position]]
            members = members[alive[members]]
            while len(members) >= DENSE:
                distances = np.bitwise_count(hashes ^ _majority(hashes[members]))
                ball = np.flatnonzero((distances <= radius // 2) & alive)
                if len(ball) < FEWEST_COLLAPSED:
                    break
                centre = int(ball[np.argmin(distances[ball])])
                ball = ball[ball != centre]
                alive[ball] = False
                yield centre, ball
                members = members[alive[members] & (members != centre)]


def _majority(hashes: np.ndarray) -> np.uint64:
    """The hash that has each bit as most of these have it."""
    bits = np.unpackbits(hashes.view(np.uint8).reshape(-1, 8), axis=1)
    return np.packbits(2 * bits.sum(0) > len(hashes)).view(np.uint64)[0]
