import numpy as np
import pytest

from lookalike.metrics.inputs import unit_vectors
from lookalike.metrics.space import alignment, effective_rank, uniformity
from lookalike.metrics.verification import Pairs


def all_pairs(unit, codes):
    one, other = np.triu_indices(len(unit), 1)
    scores, same = (unit[one] * unit[other]).sum(axis=1), codes[one] == codes[other]
    return Pairs.from_scores(scores[same], scores[~same]), one, other, same


def test_alignment_and_uniformity_equal_their_formulas():
    unit = unit_vectors(np.random.default_rng(0).standard_normal((40, 5)))
    codes = np.arange(40) % 7
    pairs, one, other, same = all_pairs(unit, codes)
    squared = ((unit[one].astype(np.float64) - unit[other]) ** 2).sum(axis=1)
    assert alignment(pairs) == pytest.approx(squared[same].mean(), abs=1e-5)
    assert uniformity(pairs) == pytest.approx(np.log(np.exp(-2 * squared).mean()), abs=1e-5)


def test_a_collapsed_space_has_no_uniformity_and_rank_one():
    unit = np.full((50, 4), 0.5, np.float32)
    assert effective_rank(unit) == 1
    assert uniformity(all_pairs(unit, np.arange(50))[0]) == pytest.approx(0)


def test_effective_rank_of_known_spreads():
    axes = np.concatenate([np.eye(6), -np.eye(6)]).astype(np.float32)
    assert effective_rank(axes) == pytest.approx(6)
    circle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    plane = np.stack([np.cos(circle), np.sin(circle), *[0 * circle] * 6], axis=1)
    assert effective_rank(plane) == pytest.approx(2, abs=1e-3)


def test_effective_rank_equals_the_formula_on_singular_values():
    unit = unit_vectors(np.random.default_rng(0).standard_normal((100, 6)) * [5, 3, 2, 1, 0.5, 0.1])
    values = np.linalg.svd(unit - unit.mean(axis=0), compute_uv=False)
    share = values / values.sum()
    assert effective_rank(unit) == pytest.approx(np.exp(-(share * np.log(share)).sum()), rel=1e-4)


def test_alignment_needs_a_positive_pair():
    with pytest.raises(ValueError, match="no positive pair"):
        alignment(Pairs.from_scores([], [0.5]))
