"""The review page of a census: groups, and pairs of groups that may be one individual."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from lookalike.clean.page import SHOWN, write_items
from lookalike.data.table import Table
from lookalike.ranking.agglomeration import neighbour_pairs
from lookalike.wording import count_noun

MOST_MERGES = 2000
"""Pairs of groups that are shown, the most similar ones."""
LINKS = 16
"""Neighbours of a photo that are looked at."""
SAMPLE = 200
"""Photos of a group among which the least similar pair is looked for."""


def write_review(
    table: Table, vectors: np.ndarray, threshold: float, folder: Path, title: str, known: Collection[str]
) -> None:
    """Write review.html: possible merges first, then groups, the least uniform ones first.

    Args:
        table: photos with their groups as labels.
        vectors: of length 1, [N, D].
        threshold: at which groups were joined.
        folder: exists.
        title: of the page.
        known: names of enrolled identities, which are never merged into others.
    """
    names, codes = np.unique(
        np.array(table.frame["label"].to_list(), object).astype(str), return_inverse=True
    )
    merges = _possible_merges(np.asarray(vectors, np.float32), codes, names, threshold, known)
    groups = _groups(np.asarray(vectors, np.float32), codes, names)
    sentence = f"{count_noun(len(names), 'group')}, {count_noun(len(merges), 'possible merge')}"
    write_items(table, [*merges, *groups], folder, title, sentence)


def _possible_merges(
    unit: np.ndarray, codes: np.ndarray, names: np.ndarray, threshold: float, known: Collection[str]
) -> list[dict[str, Any]]:
    """Pairs of groups with photos that `identify` would take for one identity, but whose mean is lower."""
    one, other, _ = neighbour_pairs(unit, threshold, LINKS)
    is_between = codes[one] != codes[other]
    one, other = one[is_between], other[is_between]
    pairs: dict[tuple[int, int], tuple[float, int, int]] = {}
    for a, b in zip(one.tolist(), other.tolist(), strict=True):
        a, b = (a, b) if codes[a] < codes[b] else (b, a)
        key, similarity = (int(codes[a]), int(codes[b])), float(unit[a] @ unit[b])
        if key not in pairs or pairs[key][0] < similarity:
            pairs[key] = similarity, a, b
    counts = np.bincount(codes)
    items = []
    for (left, right), (similarity, a, b) in sorted(pairs.items(), key=lambda item: -item[1][0])[
        :MOST_MERGES
    ]:
        if names[left] in known and names[right] in known:
            continue
        swap = names[right] in known or (names[left] not in known and counts[right] > counts[left])
        keep, rest = (right, left) if swap else (left, right)
        first, second = (b, a) if swap else (a, b)
        sides = [
            _with_first(np.flatnonzero(codes == code), row) for code, row in ((keep, first), (rest, second))
        ]
        mean = float(unit[sides[0]].mean(0) @ unit[sides[1]].mean(0))
        text = (
            f"{names[keep]} ({counts[keep]} photos) and {names[rest]} ({counts[rest]} photos): similarity of "
            f"the nearest photos {similarity:.2f}, of all pairs {mean:.2f}; the threshold is {threshold:.2f}"
        )
        rows = [row for pair in zip(*(side[: SHOWN // 2] for side in sides), strict=False) for row in pair]
        rows += [row for side in sides for row in side[: SHOWN // 2] if row not in rows]
        items.append(
            {
                "kind": "possible_merge",
                "score": round(min(similarity, 1.0), 4),
                "rows": rows,
                "pairs": [[first, second]],
                "evidence": [text],
                "changes": [["merge", str(names[rest]), str(names[keep])]],
            }
        )
    return items


def _with_first(rows: np.ndarray, first: int) -> list[int]:
    return [first, *(row for row in rows.tolist() if row != first)]


def _groups(unit: np.ndarray, codes: np.ndarray, names: np.ndarray) -> list[dict[str, Any]]:
    """Groups of two photos and more; rejecting one says that its two least similar photos are different."""
    items = []
    order = np.argsort(codes, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(codes[order])) + 1):
        if len(rows) < 2:
            continue
        vectors = unit[rows]
        fit = (vectors @ vectors.sum(0) - 1) / (len(rows) - 1)
        part = np.argsort(fit, kind="stable")[:SAMPLE]
        cosine = vectors[part] @ vectors[part].T
        a, b = np.unravel_index(int(cosine.argmin()), cosine.shape)
        pair = [int(rows[part[a]]), int(rows[part[b]])]
        rest = [
            int(rows[position]) for position in np.argsort(fit, kind="stable") if rows[position] not in pair
        ]
        text = (
            f"{names[codes[rows[0]]]}: {count_noun(len(rows), 'photo')}, mean similarity "
            f"{float(fit.mean()):.2f}; the least similar two come first, {float(cosine[a, b]):.2f}"
        )
        items.append(
            {
                "kind": "cluster",
                "score": round(float(min(fit.mean(), 1.0)), 4),
                "rows": [*pair, *rest],
                "pairs": [pair],
                "evidence": [text],
                "changes": [[]],
            }
        )
    return sorted(items, key=lambda item: item["score"])
