"""Random splits by class or by image; they depend on labels, names and seed, never on the order of rows."""

import logging
from collections.abc import Iterable, Sequence
from hashlib import blake2b

import numpy as np

from lookalike.prepare.naming import count_noun

log = logging.getLogger(__name__)
FEWEST = 2
ALL = 1 - 1e-9
TOLERANCE = 0.02
"""Deviation of a split from its share of the images above which a warning is logged."""


def class_disjoint(labels: np.ndarray, val: float = 0.1, test: float = 0.2, seed: int = 0) -> np.ndarray:
    """A split for each row such that no identity is in two of them.

    The shares refer to identities with two or more images; one with a single image cannot be retrieved and
    goes to train. Each split gets at least two identities, since with one there is nothing to confuse; if
    there are too few, train comes first, then test, then val. With `val + test = 1` nothing is left for
    train, single images included.

    Args:
        labels: text or whole numbers, [N].
        val: share of the identities for validation.
        test: share of the identities for testing.
        seed: of the split.

    Returns:
        "train", "val" or "test", [N].

    Raises:
        ValueError: a share is invalid, or they add up to more than 1.
    """
    check_shares(val, test)
    names, rows, counts = np.unique(labels, return_inverse=True, return_counts=True)
    judged = shuffle_by_hash(np.flatnonzero(counts > 1).tolist(), names.tolist(), seed)
    in_val, in_test = split_sizes(len(judged), val, test)
    rest = "train" if val + test < ALL else "test" if test >= val else "val"
    splits = np.full(len(names), rest, dtype="U5")
    splits[judged[:in_test]] = "test"
    splits[judged[in_test : in_test + in_val]] = "val"
    warn_of_empty(len(judged), {"val": (val, in_val), "test": (test, in_test)})
    lone = len(names) - len(judged)
    if lone:
        subject = count_noun(lone, "class has", "classes have")
        log.info("%s a single image, which cannot be retrieved: in %s", subject, rest)
    return splits[rows]


def within_class(
    labels: np.ndarray, paths: Iterable[str], val: float = 0.1, test: float = 0.2, seed: int = 0
) -> np.ndarray:
    """A split for each row that divides the images of every identity, for datasets with few identities.

    Scores on such a split are for new images of known identities. A split gets at least two images of an
    identity
    or none, since a single one could not be retrieved, and train at least two. Small classes therefore take
    turns: of classes with four images, some give two to test, others two to val, others none, such that the
    shares are right over the whole dataset. No class gives more than twice its share.

    Args:
        labels: text or whole numbers, [N].
        paths: unique names of the images of an identity, [N].
        val: share of the images.
        test: share of the images.
        seed: of the split.

    Raises:
        ValueError: a share is invalid, or they add up to more than 1.
    """
    check_shares(val, test)
    names, classes = np.unique(labels, return_inverse=True)
    paths = list(paths)
    rest = "train" if val + test < ALL else "test" if test >= val else "val"
    shares = {name: share for name, share in (("test", test), ("val", val)) if share and name != rest}
    owed = dict.fromkeys(shares, 0.0)
    splits = np.full(len(paths), rest, dtype="U5")
    order = np.argsort(classes, kind="stable")
    groups = np.split(order, np.searchsorted(classes[order], np.arange(1, len(names))))
    for index in shuffle_by_hash(range(len(names)), names.tolist(), seed):
        rows = shuffle_by_hash(groups[index].tolist(), paths, seed)
        start = 0
        for name, count in _images_per_split(len(rows), shares, owed).items():
            splits[rows[start : start + count]] = name
            start += count
    _warn_of_shares(splits, shares, rest, sum(len(rows) < 2 * FEWEST for rows in groups))
    return splits


def _images_per_split(count: int, shares: dict[str, float], owed: dict[str, float]) -> dict[str, int]:
    """How many images a class gives to each split; updates `owed`, the deficit of each split.

    The split with the largest deficit relative to its share comes first.
    """
    for name, share in shares.items():
        owed[name] += share * count
    free, provided = count - FEWEST, dict[str, int]()
    for name in sorted(shares, key=lambda name: -owed[name] / shares[name]):
        most = min(free, max(FEWEST, round_half_up(2 * shares[name] * count)))
        if owed[name] >= FEWEST / 2 and most >= FEWEST:
            provided[name] = min(max(round_half_up(owed[name]), FEWEST), most)
            owed[name] -= provided[name]
            free -= provided[name]
    return provided


def _warn_of_shares(splits: np.ndarray, shares: dict[str, float], rest: str, small: int) -> None:
    """Warn about splits that did not get their share."""
    for name, share in shares.items():
        count = int(np.count_nonzero(splits == name))
        if abs(count - share * len(splits)) <= max(FEWEST, TOLERANCE * len(splits)):
            continue
        log.warning(
            "%s gets %.0f %% of the images (%d) instead of %.0f %%: it takes at least %d images of a class "
            "or none, and %s keeps %d, so the %s with fewer than %d images give it none",
            *(name, 100 * count / len(splits), count, 100 * share, FEWEST),
            *(rest, FEWEST, count_noun(small, "class", "classes"), 2 * FEWEST),
        )


def check_shares(val: float, test: float) -> None:
    """Reject invalid shares.

    Raises:
        ValueError: one is below 0 or above 1, or they add up to more than 1.
    """
    for name, share in (("val", val), ("test", test)):
        if not 0 <= share <= 1:
            raise ValueError(f"{name}={share}: must be a share, from 0 to 1")
    if val + test > 1 + 1e-9:
        raise ValueError(f"val={val} and test={test} add up to more than 1")


def shuffle_by_hash(rows: Sequence[int], names: Sequence[object], seed: int) -> list[int]:
    """Indices in a random order that depends only on names and seed, by a portable hash."""

    def hash_key(row: int) -> tuple[bytes, str]:
        name = str(names[row])
        return blake2b(f"{seed}/{name}".encode(), digest_size=16).digest(), name

    return sorted(rows, key=hash_key)


def split_sizes(count: int, val: float, test: float) -> tuple[int, int]:
    """How many of `count` go to val and to test: none or at least two each; two or more stay in train."""
    in_test, in_val = round_half_up(test * count), round_half_up(val * count)
    if val + test >= ALL:
        return count - in_test, in_test
    free = count - FEWEST
    in_test = min(max(in_test, FEWEST), free) if test and free >= FEWEST else 0
    free -= in_test
    in_val = min(max(in_val, FEWEST), free) if val and free >= FEWEST else 0
    return in_val, in_test


def round_half_up(number: float) -> int:
    """Round to the nearest integer, halves up."""
    return int(number + 0.5)


def warn_of_empty(judged: int, splits: dict[str, tuple[float, int]]) -> None:
    """Warn about splits that stay empty."""
    empty = [name for name, (share, count) in splits.items() if share and not count]
    if not empty:
        return
    log.warning(
        "only %s two images or more: too few to keep %d of them unseen, so %s empty%s",
        count_noun(judged, "class has", "classes have"),
        FEWEST,
        f"{empty[0]} stays" if len(empty) == 1 else "val and test stay",
        "" if empty == ["val"] else "; split=images divides the images of each class instead",
    )
