"""Mixed classes: one label for two animals, persons or products, with a proposal how to split it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lookalike.clean.calibration import calibrate
from lookalike.clean.findings import Finding

FEWEST = 3
"""Images of each part."""
SMALLEST = 0.1
"""Share of the class that each part has at least."""
LARGEST_MADE = 200
"""Images that are taken of each of two classes to make a mixed one."""
FEWEST_CLASSES = 8
"""Classes that are large enough to be split, from which mixed ones are looked for."""
MOST_MADE = 400
ROUNDS = 20
REPORTED = 0.5
Spaces = Sequence[tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True, eq=False)
class Parts:
    """A class in two parts.

    Attributes:
        larger: rows of the larger part, the most central first.
        smaller: rows of the smaller part, the most central first.
        measures: cosine of the means, and mean similarity of images of two parts less that of one.
    """

    larger: np.ndarray
    smaller: np.ndarray
    measures: tuple[float, float]


def divide(vectors: np.ndarray, rows: np.ndarray) -> Parts | None:
    """The best division of these rows in two; None if a part would be too small.

    Spherical 2-means, started along the main direction.
    """
    values = vectors[rows]
    centred = values - values.mean(0)
    direction = centred[np.einsum("nd,nd->n", centred, centred).argmax()]
    for _ in range(5):  # power iteration
        direction = centred.T @ (centred @ direction)
        direction /= max(float(np.linalg.norm(direction)), 1e-12)
    second = centred @ direction > 0
    for _ in range(ROUNDS):
        if not FEWEST <= second.sum() <= len(rows) - FEWEST:
            return None
        means = _means(values, second)
        new = values @ means[1] > values @ means[0]
        if (new == second).all():
            break
        second = new
    least = max(FEWEST, SMALLEST * len(rows))
    if not least <= second.sum() <= len(rows) - least:
        return None
    return _parts(values, rows, second if second.sum() * 2 <= len(rows) else ~second)


def _means(values: np.ndarray, second: np.ndarray) -> np.ndarray:
    means = np.stack([values[~second].mean(0), values[second].mean(0)])
    return means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)


def _parts(values: np.ndarray, rows: np.ndarray, small: np.ndarray) -> Parts:
    means = _means(values, small)
    sums = [values[part].sum(0, dtype=np.float64) for part in (~small, small)]
    counts = [len(rows) - int(small.sum()), int(small.sum())]
    inner = sum(float(total @ total) - count for total, count in zip(sums, counts, strict=True))
    inner /= sum(count * (count - 1) for count in counts)
    across = float(sums[0] @ sums[1]) / (counts[0] * counts[1])
    order = [np.argsort(-(values[part] @ mean)) for part, mean in zip((~small, small), means, strict=True)]
    larger, smaller = rows[~small][order[0]], rows[small][order[1]]
    return Parts(larger, smaller, (float(means[0] @ means[1]), across - inner))


def find_mixed_classes(
    spaces: Spaces, codes: np.ndarray, names: np.ndarray, skipped: np.ndarray, seed: int
) -> Iterator[Finding]:
    """The images of the smaller part of each class that probably holds two identities.

    What mixed classes look like is learnt from pairs of classes that are put together.

    Args:
        spaces: rows to judge, and the vectors of all rows to judge them by.
        codes: class of each row, [N].
        names: of the classes, [C].
        skipped: rows that say nothing about their class: copies, and images with a wrong label, [N] bool.
        seed: of the pairs.
    """
    members = _members(spaces, codes, skipped)
    large = {code: value for code, value in members.items() if len(value[0]) >= 2 * FEWEST}
    parts = {code: divide(vectors, rows) for code, (rows, vectors) in large.items()}
    known = [(code, part) for code, part in parts.items() if part is not None]
    if len(large) < FEWEST_CLASSES or not known:
        return
    made = np.array([part.measures for part in _made_parts(members, seed)]).reshape(-1, 2)
    chance = calibrate(np.array([part.measures for _, part in known]), made)
    taken = set(names.tolist())
    for (code, part), score in zip(known, chance.tolist(), strict=True):
        if score >= REPORTED:
            yield from _split(part, str(names[code]), taken, score, len(codes) + code)


def _members(
    spaces: Spaces, codes: np.ndarray, skipped: np.ndarray
) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """The rows of each class, and the vectors of all rows that judge them; the most that are judged alike."""
    members: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    for rows, vectors in spaces:
        rows = rows[~skipped[rows]]
        order = rows[np.argsort(codes[rows], kind="stable")]
        for part in np.split(order, np.flatnonzero(np.diff(codes[order])) + 1):
            if len(part) and len(part) > len(members.get(int(codes[part[0]]), ((),))[0]):
                members[int(codes[part[0]])] = np.sort(part), vectors
    return members


def _made_parts(members: dict[int, tuple[np.ndarray, np.ndarray]], seed: int) -> Iterator[Parts]:
    """Divisions of classes that were put together from two, at every ratio of sizes that is looked for."""
    generator = np.random.default_rng(seed)
    usable = [code for code, (rows, _) in members.items() if len(rows) >= FEWEST]
    for _ in range(max(1, MOST_MADE // max(1, len(usable)))):
        for code in generator.permutation(usable).tolist()[:MOST_MADE]:
            other = usable[(usable.index(code) + int(generator.integers(1, len(usable)))) % len(usable)]
            both = [generator.permutation(members[one][0])[:LARGEST_MADE] for one in (code, other)]
            part = divide(members[code][1], np.concatenate(both))
            if part is not None:
                yield part


def _split(part: Parts, name: str, taken: set[str], score: float, group: int) -> Iterator[Finding]:
    number = 2
    while (new := f"{name} ({number})") in taken:
        number += 1
    taken.add(new)
    text = f"{name} looks like two identities: {len(part.larger)} and {len(part.smaller)} images"
    for row in part.smaller.tolist():
        yield Finding("wrong_label", row, int(part.larger[0]), score, "split", text, group, new)
