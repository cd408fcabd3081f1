import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lookalike.metrics.inputs import unit_vectors
from lookalike.ranking.exact import BLOCK_BYTES, FEWEST, ExactSearch, top_scores


def brute_force(vectors, queries, k, exclude=None, groups=None, digits=13):
    """Every cosine in 80 bits, rounded far below what is tested and fully sorted, ties by row."""
    long, asked = vectors.astype(np.longdouble), queries.astype(np.longdouble)
    lengths = [np.sqrt((each**2).sum(axis=1)) for each in (long, asked)]
    scores = asked @ long.T / np.where(lengths[1] > 0, lengths[1], 1)[:, None]
    scores = (scores / np.where(lengths[0] > 0, lengths[0], 1)).astype(np.float64).round(digits)
    for query, row in enumerate(exclude if exclude is not None else []):
        if row >= 0:
            scores[query, row] = -np.inf
    if groups is not None:
        scores[groups[0][:, None] == groups[1]] = -np.inf
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    found = np.take_along_axis(scores, order, axis=1)
    missing = max(0, k - order.shape[1])
    order = np.pad(np.where(found == -np.inf, -1, order), ((0, 0), (0, missing)), constant_values=-1)
    return np.pad(found, ((0, 0), (0, missing)), constant_values=-np.inf), order


def signs(rng, *shape):
    """Vectors of few whole numbers, with many ties; cosines that are not equal are far apart."""
    return rng.integers(-2, 3, shape).astype(np.float32)


@settings(deadline=None)
@given(st.integers(1, 300), st.integers(1, 40), st.integers(1, 400), st.integers(0, 2**32 - 1))
def test_equals_brute_force_with_all_its_ties(size, queries, k, seed):
    rng = np.random.default_rng(seed)
    vectors, asked = signs(rng, size, 3), signs(rng, queries, 3)
    exclude = rng.integers(-1, size, queries)
    groups = rng.integers(0, 3, queries), rng.integers(0, 3, size)
    for more in ({}, {"exclude": exclude}, {"groups": groups}, {"exclude": exclude, "groups": groups}):
        scores, rows = ExactSearch(vectors, block=FEWEST).search(asked, k, **more)
        expected = brute_force(vectors, asked, k, **more)
        there = expected[1] >= 0
        assert np.abs(np.where(there, scores, 0) - np.where(there, expected[0], 0)).max(initial=0) < 1e-12
        assert (np.isneginf(scores) == ~there).all()
        equal = rows == expected[1]  # parallel vectors of other lengths are equal only up to rounding
        assert np.abs(scores[~equal] - expected[0][~equal]).max(initial=0) < 1e-12


def test_equals_brute_force_on_random_vectors():
    rng = np.random.default_rng(0)
    vectors = unit_vectors(rng.standard_normal((3000, 64)))
    scores, rows = ExactSearch(vectors).search(vectors[:200], 10, exclude=np.arange(200))
    expected, order = brute_force(vectors, vectors[:200], 10, np.arange(200))
    assert (rows == order).all()
    assert scores == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("noise", [1e-2, 1e-3, 3e-4, 1e-5])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_among_vectors_that_are_nearly_equal_each_finds_itself_and_its_true_neighbours(noise, kind):
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal(128) + noise * rng.standard_normal((2000, 128))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(kind)
    exact, asked = ExactSearch(vectors), np.arange(100)
    scores, rows = exact.search(vectors[:100], 1)
    assert (rows[:, 0] == asked).all()
    assert np.abs(scores - 1).max() < 1e-13
    scores, rows = exact.search(vectors[:100], 5, exclude=asked)
    expected, order = brute_force(vectors, vectors[:100], 5, asked, digits=17)
    assert (rows == order).mean() > 0.99
    assert np.abs(scores - expected).max() < 1e-13


def test_lengths_do_not_matter():
    """Half precision leaves lengths of 1.001: a longer vector must not win for its length."""
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((300, 16)).astype(np.float32)
    long = vectors * rng.uniform(0.5, 2, (300, 1)).astype(np.float32)
    scores, rows = ExactSearch(long).search(vectors, 1)
    assert (rows[:, 0] == np.arange(300)).all()
    assert scores == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("size", [20, 33, 101, 1001, 4099])
@pytest.mark.parametrize("queries", [1, 2, 3, 17, 100])
def test_equal_vectors_get_equal_scores_so_the_lower_row_comes_first(size, queries):
    vectors = unit_vectors(np.random.default_rng(size).standard_normal((size, 37)))
    copies = [3, 5, size // 2, size - 1]
    vectors[copies] = vectors[3]
    _, rows = ExactSearch(vectors).search(np.repeat(vectors[3:4], queries, axis=0), 4)
    assert rows.tolist() == [copies] * queries


def test_itself_is_excluded_by_row_not_by_rank():
    vectors = np.ones((4, 2), np.float32)
    _, rows = ExactSearch(vectors).search(vectors, 3, exclude=np.arange(4))
    assert rows.tolist() == [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]]


def test_blocks_do_not_change_the_result():
    vectors = unit_vectors(np.random.default_rng(0).standard_normal((500, 16)))
    whole = ExactSearch(vectors, block=512).search(vectors, 7)
    for block in (16, 48, 100):
        scores, rows = ExactSearch(vectors, block=block).search(vectors, 7)
        assert (rows == whole[1]).all()
        assert (scores == whole[0]).all()


def test_scores_are_held_in_blocks_of_bounded_size():
    vectors = np.zeros((200_000, 1), np.float32)
    assert 4 * ExactSearch(vectors).block * len(vectors) <= BLOCK_BYTES
    assert ExactSearch(vectors[:10]).block == 1024


def test_vectors_on_disk_are_searched_and_left_alone(tmp_path):
    np.save(tmp_path / "v.npy", np.eye(5, dtype=np.float32))
    mapped = np.load(tmp_path / "v.npy", mmap_mode="r")
    assert ExactSearch(mapped).search(np.eye(5)[[2]], 1)[1].tolist() == [[2]]


@pytest.mark.parametrize(
    ("vectors", "queries", "k", "said"),
    [
        (np.ones(3), np.ones((1, 3)), 1, "vectors: a matrix"),
        (np.ones((3, 3)), np.ones((1, 2)), 1, "queries have 2 numbers each, the gallery 3"),
        (np.ones((3, 3)), np.ones((1, 3)), 0, "k=0"),
        (np.array([[1.0], [np.nan]]), np.ones((1, 1)), 1, "vectors: not finite .* row 1"),
        (np.ones((1, 1)), np.array([[np.inf]]), 1, "queries: not finite"),
    ],
)
def test_what_cannot_be_searched_is_refused(vectors, queries, k, said):
    with pytest.raises(ValueError, match=said):
        ExactSearch(vectors).search(queries, k)


@given(st.lists(st.sampled_from([-np.inf, -1.0, 0.0, 0.5, 1.0]), max_size=200), st.integers(1, 210))
def test_best_is_the_beginning_of_a_stable_sort(values, k):
    scores = np.array(values, np.float32)
    order = [row for row in np.argsort(-scores, kind="stable") if values[row] > -np.inf]
    assert top_scores(scores, k).tolist() == order[:k]


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 12), st.integers(0, 2**32 - 1), st.sampled_from([2, 10, 100_000]))
def test_best_of_many_equals_a_stable_sort(k, seed, levels):
    scores = np.random.default_rng(seed).integers(0, levels, 5000).astype(np.float32)
    assert top_scores(scores, k).tolist() == np.argsort(-scores, kind="stable")[:k].tolist()
