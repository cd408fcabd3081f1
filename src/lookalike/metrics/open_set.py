"""Open-set identification: is the right one found, and how often is a stranger given a name."""

from fractions import Fraction

import numpy as np

from lookalike.metrics.estimate import Estimate, identity_estimates
from lookalike.metrics.neighbours import Neighbours
from lookalike.metrics.records import rate_name


def tpir_at_fpir(neighbours: Neighbours, fpir: float = 0.01) -> dict[str, float]:
    """True positive identification rate at the threshold that gives at most `fpir` of strangers a name.

    Every query is searched twice: as it is, and, as a stranger, in the gallery without its identity. The
    threshold is the smallest one that at most `fpir` of the strangers reach. A query is identified if its
    nearest row is of its identity and reaches the threshold. Source: Grother, Ngan and Hanaoka 2019 (FRVT
    part 2: TPIR and FPIR, rank 1).

    Args:
        neighbours: of each query; queries of unknown identity are strangers only.
        fpir: allowed share of strangers who are given a name.

    Raises:
        ValueError: `fpir` is out of range or finer than the queries can show; no query is known; or too few
            neighbours were kept to know the nearest row of another identity.
    """
    size, known = len(neighbours.label), neighbours.total > 0
    if not 0 < fpir < 1:
        raise ValueError(f"fpir={fpir}: must be more than 0 and less than 1")
    allowed = int(Fraction(repr(float(fpir))) * size)
    if not known.any() or not allowed:
        raise ValueError(
            f"tpir@fpir={rate_name(fpir)}: {size} queries, {int(known.sum())} of them known, show no rate "
            f"below {1 / max(size, 1):.3g}; evaluate more of them, or ask for a higher fpir"
        )
    nearest, least = _nearest_other(neighbours)
    strangers = np.sort(nearest)[::-1]
    limit = strangers[allowed]
    if least.max(initial=-np.inf) > limit:
        raise ValueError(
            f"tpir@fpir={rate_name(fpir)}: all {neighbours.rows.shape[1]} neighbours of some queries are of "
            "their own identity; keep more (neighbours=) than an identity has images"
        )
    right = (neighbours.labels[:, 0] == neighbours.label) & known
    first = np.where(right, neighbours.scores[:, 0].astype(np.float64), -np.inf)
    value = float((first > limit)[known].mean())
    spread = max(1, round(2 * (size * fpir * (1 - fpir)) ** 0.5))  # what another sample may accept
    ends = max(allowed - spread, 0), min(allowed + spread, size - 1)
    gained = [float((first > strangers[end])[known].mean()) for end in ends]
    slope = (gained[1] - gained[0]) / (ends[1] - ends[0]) * size
    named = nearest > limit
    moved = slope * (named.mean() - named) / size + np.where(known, (first > limit) - value, 0) / known.sum()
    estimate = Estimate(value, identity_estimates(moved, neighbours.label), share=True)
    return {f"tpir@fpir={rate_name(fpir)}": estimate}


def _nearest_other(neighbours: Neighbours) -> tuple[np.ndarray, np.ndarray]:
    """Similarity of the nearest row of another identity, [Q], and its upper bounds where it was not kept.

    The similarity is -inf there.
    """
    kept = neighbours.rows >= 0
    other = kept & (neighbours.labels != neighbours.label[:, None])
    scores = np.where(other, neighbours.scores.astype(np.float64), -np.inf)
    nearest = scores.max(axis=1, initial=-np.inf)
    is_cut = ~other.any(axis=1) & kept.all(axis=1) & (not neighbours.whole)
    last = neighbours.scores[:, -1].astype(np.float64) if kept.shape[1] else nearest
    return nearest, last[is_cut]
