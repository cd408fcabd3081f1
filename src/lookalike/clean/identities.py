"""Duplicate identities: two labels for one animal, person or product."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lookalike.clean.calibration import calibrate
from lookalike.clean.findings import Finding
from lookalike.clean.judging import MEASURES, Fits, measure_fits

REPORTED = 0.2
MOST_CUT = 400
"""Classes that are cut in two to learn what two labels of one identity look like."""
FEWEST_CUT = 8
NUMBERS = MEASURES + 3
NEAREST = 3
"""Labels that each label is paired with."""
SHARED_PHOTO, MOST_SHARED = 2.5, 2
"""Log odds for a photo that is in both classes, and how many of them count."""


@dataclass(frozen=True, eq=False)
class LabelPairs:
    """Pairs of classes with what speaks for one identity.

    Attributes:
        pairs: class codes, int64 [P, 2], the lower first.
        measures: float64 [P, 5]: how much less alike images of the two classes are than those of one class,
            by both measures and, by the first, on the worse side; the share of images whose nearest other
            class is the other one; how far ahead of the next class it is.
    """

    pairs: np.ndarray
    measures: np.ndarray


def pair_labels(fits: Fits, codes: np.ndarray) -> LabelPairs:
    """Each class with the ones most like it."""
    num_classes = int(codes.max()) + 1
    sizes = np.bincount(codes, minlength=num_classes)
    k = fits.others.shape[1]
    keys = codes[:, None] * num_classes + fits.others
    lowest = np.where(np.isfinite(fits.scores), fits.scores, np.inf).min(
        1
    )  # of labels that are not among the K
    lowest = np.where(np.isfinite(lowest), lowest, -1.0)
    valid = (fits.others >= 0) & np.isfinite(fits.scores).all(2)
    unique, inverse = np.unique(keys[valid], return_inverse=True)
    gain = (fits.scores - lowest[:, None])[valid]
    sums = np.stack([np.bincount(inverse, gain[:, column], len(unique)) for column in range(MEASURES)], 1)
    base = np.stack([np.bincount(codes, lowest[:, column], num_classes) for column in range(MEASURES)], 1)
    left, right = unique // num_classes, unique % num_classes
    means = (base[left] + sums) / sizes[left, None]
    first = np.bincount(np.searchsorted(unique, keys[:, 0][valid[:, 0]]), minlength=len(unique)) / sizes[left]
    own_means = _own_means(fits.own_scores, codes, num_classes)
    ahead = _lead(left, means[:, 0], num_classes)
    sides = np.column_stack([means - own_means[left], first, ahead])
    rank = _rank(left, means[:, 1])
    return _join_sides(left, right, sides, rank < min(NEAREST, k))


def _own_means(scores: np.ndarray, codes: np.ndarray, num_classes: int) -> np.ndarray:
    """Mean measures of a class with itself, [C, 3]; that of all classes for one without a pair of images."""
    good = np.isfinite(scores).all(1)
    count = np.bincount(codes[good], minlength=num_classes)
    sums = np.stack(
        [np.bincount(codes[good], scores[good, column], num_classes) for column in range(MEASURES)], 1
    )
    average = scores[good].mean(0) if good.any() else np.zeros(MEASURES)
    return np.where(count[:, None] > 0, sums / np.maximum(count, 1)[:, None], average)


def _rank(left: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The rank of each value among those of its class, from 0, largest first."""
    order = np.lexsort((-values, left))
    starts = np.searchsorted(left[order], left[order])
    rank = np.empty(len(left), np.int64)
    rank[order] = np.arange(len(left)) - starts
    return rank


def _lead(left: np.ndarray, values: np.ndarray, num_classes: int) -> np.ndarray:
    """Each value less the best other one of its class; 0 for an only one."""
    best, second = np.full(num_classes, -np.inf), np.full(num_classes, -np.inf)
    np.maximum.at(best, left, values)
    below = values < best[left]
    np.maximum.at(second, left[below], values[below])
    rest = np.where(below, best[left], second[left])
    return np.where(np.isfinite(rest), values - rest, 0.0)


def _join_sides(left: np.ndarray, right: np.ndarray, sides: np.ndarray, is_near: np.ndarray) -> LabelPairs:
    """Pairs in which each class is among the nearest of the other, or at least one is; what both sides
    say.
    """
    known = {pair: row for row, pair in enumerate(zip(left.tolist(), right.tolist(), strict=True))}
    floor = (
        np.array([*sides[:, :MEASURES].min(0), 0.0, sides[:, -1].min()])
        if len(sides)
        else np.zeros(MEASURES + 2)
    )
    pairs = sorted({(min(pair), max(pair)) for pair, row in known.items() if is_near[row]})
    measures = []
    for one, other in pairs:
        both = np.stack(
            [sides[known[key]] if key in known else floor for key in ((one, other), (other, one))]
        )
        mean = both.mean(0)
        measures.append([*mean[:MEASURES], both[:, 0].min(), *mean[MEASURES:]])
    return LabelPairs(
        np.array(pairs, np.int64).reshape(-1, 2), np.array(measures, np.float64).reshape(-1, NUMBERS)
    )


def cut_classes(codes: np.ndarray, seed: int) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """Codes in which a part of the classes has two labels, and which codes belong together."""
    generator = np.random.default_rng(seed)
    num_classes = int(codes.max()) + 1
    sizes = np.bincount(codes, minlength=num_classes)
    large = generator.permutation(
        np.flatnonzero(sizes >= 4 if (sizes >= 4).sum() >= FEWEST_CUT else sizes >= 2)
    )
    chosen = large[: min(MOST_CUT, max(FEWEST_CUT, len(large) // 4))]
    changed, pairs = codes.copy(), []
    for number, one in enumerate(chosen.tolist()):
        rows = generator.permutation(np.flatnonzero(codes == one))
        changed[rows[: len(rows) // 2]] = num_classes + number
        pairs.append((one, num_classes + number))
    return changed, pairs


def identity_probabilities(
    fits: Fits,
    spaces: Sequence[tuple[np.ndarray, np.ndarray]],
    codes: np.ndarray,
    copies: np.ndarray,
    seed: int,
) -> tuple[LabelPairs, np.ndarray]:
    """Pairs of classes, and the probability that both are one identity, [P].

    Made errors are classes that are cut in two.
    """
    candidates = pair_labels(fits, codes)
    measures = []
    for repeat in range(4 if codes.max() < 100 else 2 if codes.max() < 400 else 1):
        cut, made = cut_classes(codes, seed + repeat)
        known = pair_labels(measure_fits(spaces, cut, copies), cut)
        rows = {tuple(pair): row for row, pair in enumerate(known.pairs.tolist())}
        measures += [known.measures[rows[pair]] for pair in made if pair in rows]
    errors = np.array(measures, np.float64).reshape(-1, NUMBERS)
    probability = calibrate(candidates.measures, errors)
    return candidates, _with_shared_photos(probability, candidates.pairs, codes, copies)


def _with_shared_photos(
    probability: np.ndarray, pairs: np.ndarray, codes: np.ndarray, copies: np.ndarray
) -> np.ndarray:
    shared = defaultdict[tuple[int, int], int](int)
    for one, other in codes[copies].tolist():
        shared[min(one, other), max(one, other)] += one != other
    count = np.array([min(shared.get(tuple(pair), 0), MOST_SHARED) for pair in pairs.tolist()], np.float64)
    chance = np.clip(probability, 1e-9, 1 - 1e-9)
    odds = np.log(chance / (1 - chance)) + SHARED_PHOTO * count
    return np.where(count > 0, 1 / (1 + np.exp(-odds)), probability)


def group_labels(pairs: np.ndarray, probabilities: np.ndarray, lowest: float = 0.5) -> list[list[int]]:
    """Groups of classes in which each is probably one identity with every other; never chains of pairs."""
    chance = {tuple(pair): value for pair, value in zip(pairs.tolist(), probabilities.tolist(), strict=True)}
    group_of: dict[int, list[int]] = {}
    for (one, other), value in sorted(chance.items(), key=lambda item: -item[1]):
        if value < lowest:
            break
        left, right = group_of.setdefault(one, [one]), group_of.setdefault(other, [other])
        if left is right:
            continue
        if all(chance.get((min(a, b), max(a, b)), 0.0) >= lowest for a in left for b in right):
            left += right
            group_of.update(dict.fromkeys(right, left))
    return [
        list(group) for group in {id(group): group for group in group_of.values()}.values() if len(group) > 1
    ]


def find_duplicate_identities(
    fits: Fits, candidates: LabelPairs, probabilities: np.ndarray, codes: np.ndarray, names: np.ndarray
) -> Iterator[Finding]:
    """Pairs of labels that are probably one identity, each with its most similar images."""
    sizes = np.bincount(codes)
    chance = {
        tuple(pair): value
        for pair, value in zip(candidates.pairs.tolist(), probabilities.tolist(), strict=True)
    }
    groups = group_labels(candidates.pairs, probabilities)
    number = {label: index for index, group in enumerate(groups) for label in group}
    for index, ((one, other), value) in enumerate(chance.items()):
        if value < REPORTED:
            continue
        same = one in number and number[one] == number.get(other)
        if one in number and other in number and not same:
            value = min(value, 0.499)  # part of a chain: not every member has evidence
        keep, rest = sorted((one, other), key=lambda label: (-sizes[label], label))
        row_a, row_b = _most_similar(fits, codes, keep, rest)
        if row_a < 0:
            continue
        counts = f"{names[keep]} ({sizes[keep]} images) and {names[rest]} ({sizes[rest]} images)"
        text = f"{counts} look like one identity"
        group = number[one] if same else len(groups) + index
        yield Finding(
            "duplicate_identity", row_a, row_b, value, "merge" if value >= 0.5 else "none", text, group
        )


def _most_similar(fits: Fits, codes: np.ndarray, one: int, other: int) -> tuple[int, int]:
    """The most similar images of two classes, that of the first class first; -1 where none is known."""
    best = (-np.inf, -1, -1)
    for left, right, swap in ((one, other, False), (other, one, True)):
        rows = np.flatnonzero(codes == left)
        hit, column = np.nonzero(fits.others[rows] == right)
        for row, position in zip(rows[hit].tolist(), column.tolist(), strict=True):
            score, nearest = float(fits.scores[row, position, 0]), int(fits.nearest[row, position])
            if nearest >= 0 and score > best[0]:
                best = (score, nearest, row) if swap else (score, row, nearest)
    return best[1], best[2]
