import numpy as np
import pytest
import torch

from lookalike.metrics.inputs import exact_vectors
from lookalike.metrics.retrieval import average_precision
from lookalike.ranking.approximate import Shortlist
from lookalike.ranking.exact import FullRanking
from lookalike.ranking.task import RankingDepth, RankingSettings, RetrievalTask

SIZE, DIM = 2100, 24
"""More than two tiles, and the last one is narrow."""


def labels():
    """Identities of 1 to 20 images."""
    codes = np.repeat(np.arange(200), np.tile(np.arange(1, 21), 10))
    return np.random.default_rng(1).permutation(codes)


def random_vectors(rng):
    return rng.standard_normal((SIZE, DIM))


def clusters(rng):
    return rng.standard_normal((200, DIM))[labels()] + 1.3 * rng.standard_normal((SIZE, DIM))


def duplicates(rng):
    vectors = clusters(rng)
    vectors[rng.integers(0, SIZE, 900)] = vectors[rng.integers(0, SIZE, 900)]
    return vectors


def ties(rng):
    return rng.integers(-1, 2, (SIZE, 6)) + np.array([0, 0, 0, 0, 0, 1.5])


def near_ties(rng):
    """Copies of 60 vectors that differ by a few of the smallest steps that a score can tell."""
    vectors = rng.standard_normal((60, DIM))[rng.integers(0, 60, SIZE)]
    return vectors * (1 + 1e-14 * rng.integers(0, 8, vectors.shape))


def near_ties_in_float32(rng):
    vectors = rng.standard_normal((60, DIM))[rng.integers(0, 60, SIZE)]
    return vectors + 3e-5 * rng.standard_normal(vectors.shape)


def opposite(rng):
    """Scores near 1, near -1 and near 0."""
    vectors = clusters(rng) * 1e-3 + np.eye(DIM)[rng.integers(0, 2, SIZE)]
    return vectors * rng.choice([-1, 1], (SIZE, 1))


def nearly_equal(rng):
    return 1e-2 * clusters(rng) + 1


KINDS = [random_vectors, clusters, duplicates, ties, near_ties, near_ties_in_float32, opposite, nearly_equal]


def task_of(vectors, mode):
    unit, codes = exact_vectors(vectors), labels()
    groups = np.random.default_rng(2).integers(0, 3, SIZE)
    if mode == "self":
        return RetrievalTask(unit, codes)
    if mode == "self, groups":
        return RetrievalTask(unit, codes, query_groups=groups, ignore="identity_in_group")
    queries = np.random.default_rng(3).permutation(SIZE)[:1300]
    code = np.where(np.arange(1300) % 7, codes[queries], -1)
    if mode == "gallery":
        return RetrievalTask(unit[queries], code, unit, codes, exclude_row=queries)
    return RetrievalTask(
        unit[queries], code, unit, codes, query_groups=groups[queries], gallery_groups=groups, ignore="group"
    )


def positions(ranked):
    """Position of every relevant row and average precision of each query, by query."""
    found = {}
    for some in ranked:
        precision = average_precision(some.ranking)
        for query, row, value in zip(some.queries, some.ranking.positions, precision, strict=True):
            found[int(query)] = (row[row > 0].tolist(), float(value))
    return dict(sorted(found.items()))


@pytest.mark.parametrize(
    ("kind", "mode"),
    [(kind, mode) for kind in KINDS for mode in ("self", "gallery")]
    + [(kind, mode) for kind in (duplicates, ties) for mode in ("self, groups", "gallery, groups")],
)
def test_counted_ranks_are_those_of_a_full_sort(kind, mode):
    task, cpu = task_of(kind(np.random.default_rng(0)), mode), torch.device("cpu")
    shortlist = Shortlist(
        task, RankingDepth(None, 0, 0), cpu, threads=2, settings=RankingSettings(max_undecided=np.inf)
    )
    counted = positions(shortlist.run(lambda _: None))
    sorted_ = positions(FullRanking(task, 0, cpu, 1).run(np.arange(len(task.queries))))
    assert list(counted) == list(sorted_)
    assert [positions for positions, _ in counted.values()] == [each for each, _ in sorted_.values()]
    precisions = ([precision for _, precision in found.values()] for found in (counted, sorted_))
    assert np.array_equal(*precisions, equal_nan=True)


@pytest.mark.parametrize("kind", [ties, nearly_equal])
def test_queries_with_too_many_undecided_comparisons_are_left_over(kind):
    task = task_of(kind(np.random.default_rng(0)), "self")
    shortlist = Shortlist(task, RankingDepth(None, 0, 0), torch.device("cpu"), threads=1)
    counted = positions(shortlist.run(lambda _: None))
    left_over = np.concatenate(shortlist.left_over)
    assert len(left_over)
    assert sorted([*counted, *left_over]) == list(range(SIZE))


def test_queries_with_many_relevant_rows_are_left_over():
    unit = exact_vectors(random_vectors(np.random.default_rng(0)))
    shortlist = Shortlist(
        RetrievalTask(unit, np.arange(SIZE) % 15), RankingDepth(None, 0, 0), torch.device("cpu"), threads=1
    )
    assert not positions(shortlist.run(lambda _: None))
