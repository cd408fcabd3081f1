"""Metrics of the nearest rows with their labels and scores: votes, confidence, hubs."""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from lookalike.metrics.estimate import Estimate, Spread, identity_estimates, split_errors
from lookalike.metrics.records import rate_name

PART = 1 << 24
"""Comparisons of labels held at once."""

FEWEST = 4
"""Of fewer identities there are no intervals of hubness."""


@dataclass(frozen=True)
class Neighbours:
    """The nearest rows of each query, nearest first.

    Attributes:
        rows: int64 [Q, K], rows of the gallery; -1 where nothing is left to find.
        labels: int64 [Q, K], their identities; -1 where there is no row.
        scores: float [Q, K], similarities; -inf where there is no row.
        label: int64 [Q], identity of the query.
        total: int64 [Q], how many rows of this identity the query could find; 0 makes it an unknown one.
        gallery: how many rows there were to find.
        codes: int64 [gallery], identity of each of them, at least 0; None if each is one of its own.
        whole: whether these are all rows that there are to find.
    """

    rows: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    label: np.ndarray
    total: np.ndarray
    gallery: int
    codes: np.ndarray | None = None
    whole: bool = False


def knn_at(neighbours: Neighbours, k: int, top: int = 1, temperature: float = 0.07) -> np.ndarray:
    """Whether the identity is among the `top` that win the vote of the `k` nearest rows, [Q].

    A row's vote weighs exp(similarity / temperature); of equal sums the identity that comes first wins. NaN
    for queries of unknown identity. Source: Wu et al. 2018 (arXiv 1805.01978), section 3.4.

    Raises:
        ValueError: fewer than `k` neighbours are there although the gallery holds more; or an argument below
        1.
    """
    if k < 1 or top < 1 or temperature <= 0:
        raise ValueError(f"knn: k={k}, top={top}, temperature={temperature:g}: all must be more than 0")
    width = neighbours.rows.shape[1]
    if not neighbours.whole and width < min(k, neighbours.gallery - 1):
        raise ValueError(f"knn@{k}: only {width} neighbours of each query were kept")
    right = np.full(len(neighbours.label), np.nan)
    step = max(1, PART // max(1, min(k, width)) ** 2)
    for start in range(0, len(right), step):
        part = slice(start, start + step)
        labels, scores = neighbours.labels[part, :k], neighbours.scores[part, :k]
        right[part] = _is_vote_correct(labels, scores, neighbours.label[part], top, temperature)
    return np.where(neighbours.total > 0, right, np.nan)


def knn_top5_at(neighbours: Neighbours, k: int, temperature: float = 0.07) -> np.ndarray:
    """Whether the identity is among the first five of the vote of the `k` nearest rows; see `knn_at`."""
    return knn_at(neighbours, k, 5, temperature)


def vote_winners(labels: np.ndarray, scores: np.ndarray, temperature: float = 0.07) -> np.ndarray:
    """The identity that wins the vote of nearest rows, as `knn_at` counts it, int64 [Q]; -1 without a vote.

    Args:
        labels: identities of the rows that vote, nearest first, [Q, K]; -1 where there is none.
        scores: their similarities, [Q, K].
        temperature: a vote weighs exp(similarity / temperature).
    """
    won = np.full(len(labels), -1, np.int64)
    step = max(1, PART // max(1, labels.shape[1]) ** 2)
    for start in range(0, len(labels) if labels.shape[1] else 0, step):
        part = slice(start, start + step)
        votes, first = _votes(labels[part], scores[part], temperature)
        best = np.where(first, votes, -1.0).argmax(axis=1)
        won[part] = np.take_along_axis(labels[part], best[:, None], axis=1)[:, 0]
    return won


def _votes(labels: np.ndarray, scores: np.ndarray, temperature: float) -> tuple[np.ndarray, np.ndarray]:
    """The sum of votes for the identity of each row, [Q, K], and which rows are the first of theirs."""
    best = scores.max(axis=1, keepdims=True, initial=-np.inf)
    is_known = labels >= 0
    weights = np.where(
        is_known, np.exp(np.where(is_known, scores - best, 0.0).astype(np.float64) / temperature), 0.0
    )
    same = labels[:, :, None] == labels[:, None, :]
    return np.einsum("qij,qj->qi", same, weights), is_known & (
        same.argmax(axis=2) == np.arange(labels.shape[1])
    )


def _is_vote_correct(
    labels: np.ndarray, scores: np.ndarray, label: np.ndarray, top: int, temperature: float
) -> np.ndarray:
    votes, first = _votes(labels, scores, temperature)
    mine = first & (labels == label[:, None])
    own_votes = np.where(mine, votes, -1.0).max(axis=1, initial=-1.0)
    first_own = np.where(mine.any(axis=1), mine.argmax(axis=1) if mine.shape[1] else 0, -1)
    earlier = np.arange(labels.shape[1]) < first_own[:, None]
    ahead = first & ((votes > own_votes[:, None]) | ((votes == own_votes[:, None]) & earlier))
    return (own_votes >= 0) & (ahead.sum(axis=1) < top)


def global_average_precision(neighbours: Neighbours) -> Estimate:
    """Average precision of all queries' first hits, sorted together by similarity (GAP, µAP).

    Each query predicts the identity of its nearest row with that row's similarity as confidence. GAP is the
    sum of the precision at each right prediction, divided by the number of queries whose identity is in the
    gallery: a confident answer to an unknown query costs. Queries of equal confidence share one precision.
    Source: Perronnin et al. 2009; Weyand et al. 2020 (arXiv 2004.01804), equation 1.

    Raises:
        ValueError: no query has an identity that the gallery holds.
    """
    has_relevant = neighbours.total > 0
    if not has_relevant.any():
        raise ValueError("gap: no query has an identity that is in the gallery")
    right, scores = _first_correct(neighbours)
    order = np.argsort(-scores, kind="stable")
    hits, falling = right[order].astype(np.float64), -scores[order]
    first = np.searchsorted(falling, falling)  # of those that are equally confident
    last = np.searchsorted(falling, falling, side="right")  # how many are at least as confident
    precision = np.cumsum(hits)[last - 1] / last
    value = float((precision * hits).sum() / has_relevant.sum())

    def from_there(values: np.ndarray) -> np.ndarray:
        """The sum over all queries that are at most as confident."""
        return np.cumsum(values[::-1])[::-1][first]

    gain = np.empty(len(order))
    gain[order] = hits * (precision + from_there(hits / last)) - from_there(hits * precision / last)
    moved = identity_estimates((gain - value * has_relevant) / has_relevant.sum(), neighbours.label)
    return Estimate(value, moved, share=True)


def dir_at(neighbours: Neighbours, far: float, coarse: bool = False) -> Estimate:
    """Detection and identification rate in open-set search: known queries found first, and above the
    threshold.

    The threshold is the smallest one at which no more than `far` of the queries of unknown identity have a
    nearest row that is as similar. Source: Phillips, Grother and Micheals 2011 (TPIR at FPIR, rank 1).

    Raises:
        ValueError: no unknown or no known queries, or fewer unknown ones than can show `far`.
    """
    unknown = neighbours.total == 0
    if not unknown.any() or unknown.all():
        raise ValueError(
            f"dir: {int(unknown.sum())} of {len(unknown)} queries are of an identity that the gallery lacks; "
            "open-set identification needs both kinds"
        )
    if not 0 <= far < 1:
        raise ValueError(f"far={far}: a false accept rate is at least 0 and less than 1")
    size = int(unknown.sum())
    allowed = int(Fraction(repr(float(far))) * size)
    if allowed < 1 and not coarse:
        raise ValueError(
            f"dir@far={rate_name(far)}: {size} unknown queries show no rate below {1 / size:.3g}; evaluate "
            "more of them, ask for a higher far, or allow a coarse one (coarse_far)"
        )
    right, scores = _first_correct(neighbours)
    strangers = np.append(np.sort(scores[unknown])[::-1], -np.inf)

    def identified_at(accepted: int) -> np.ndarray:
        return right & (scores > strangers[accepted])

    neighbourhood = max(1, round(2 * (size * far * (1 - far)) ** 0.5))  # what another sample may accept
    ends = max(allowed - neighbourhood, 0), min(allowed + neighbourhood, size)
    gained = [float(identified_at(end)[~unknown].mean()) for end in ends]
    slope = (gained[1] - gained[0]) / (ends[1] - ends[0]) * size
    value = float(identified_at(allowed)[~unknown].mean())
    moved = np.where(
        unknown,
        -slope * (scores > strangers[allowed]) / size,
        (identified_at(allowed) - value) / (~unknown).sum(),
    )
    moved[unknown] -= moved[unknown].mean()
    return Estimate(value, identity_estimates(moved, neighbours.label), share=True)


def hubness(neighbours: Neighbours, k: int = 10, halves: int = 100, seed: int = 0) -> dict[str, float]:
    """How unevenly rows are found: how skewed their counts among the `k` nearest are, and anti-hubs.

    `hubness_skewness` is 0 where all are found alike, and above about 1 where few rows, the hubs, are found
    by many; `anti_hubs` is the share that nothing finds. Source: Radovanović et al. 2010 (JMLR 11).

    Their intervals come from splits of the identities in halves, queries and gallery rows alike, each half
    looking for its own `k` nearest (see `split_errors`). For this, some 3 · `k` neighbours of each query are
    needed.

    Args:
        neighbours: of each query.
        k: a row is found by those that have it among so many nearest.
        halves: how many halves of the identities are drawn for intervals, two a split.
        seed: of the halves.
    """
    skewness, alone = _unevenness(neighbours.rows[:, :k], neighbours.gallery)
    if neighbours.codes is None or len(np.unique(neighbours.codes)) < FEWEST or halves < 4:
        return {"hubness_skewness": skewness, "anti_hubs": alone}
    size = int(max(neighbours.codes.max(), neighbours.label.max())) + 1
    splits = halves // 2
    rng = np.random.default_rng(seed)
    errors = split_errors(
        lambda is_kept: np.array(_half_hubness(neighbours, k, is_kept)), size, splits, rng
    ).tolist()
    sure = min(splits, size - 1), size
    return {
        "hubness_skewness": Spread(skewness, errors[0], *sure),
        "anti_hubs": Spread(alone, errors[1], *sure, share=True),
    }


def _half_hubness(neighbours: Neighbours, k: int, is_kept: np.ndarray) -> tuple[float, float]:
    """`_unevenness` among the identities that are kept, bool [C]."""
    codes = np.zeros(neighbours.gallery, np.int64) if neighbours.codes is None else neighbours.codes
    new_rows = np.where(is_kept[codes], np.cumsum(is_kept[codes]) - 1, -1)
    rows = neighbours.rows[is_kept[neighbours.label]]
    rows = np.where(rows >= 0, new_rows[rows], -1)
    nearest = (rows >= 0) & (np.cumsum(rows >= 0, axis=1) <= k)
    return _unevenness(np.where(nearest, rows, -1), int(is_kept[codes].sum()))


def _unevenness(rows: np.ndarray, gallery: int) -> tuple[float, float]:
    """Skewness of how often gallery rows are found, and the share that nothing finds."""
    counts = np.bincount(rows[rows >= 0], minlength=gallery).astype(np.float64)
    spread = counts.std()
    skewness = float((((counts - counts.mean()) / spread) ** 3).mean()) if spread > 0 else 0.0
    return skewness, float((counts == 0).mean())


def _first_correct(neighbours: Neighbours) -> tuple[np.ndarray, np.ndarray]:
    """Whether the nearest row of each query is of its identity, and how similar it is."""
    if neighbours.rows.shape[1] == 0:
        return np.zeros(len(neighbours.label), bool), np.full(len(neighbours.label), -np.inf)
    right = (neighbours.labels[:, 0] == neighbours.label) & (neighbours.total > 0)
    return right, neighbours.scores[:, 0].astype(np.float64)
