from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from lookalike.metrics.inputs import GRID, unit_vectors
from lookalike.metrics.retrieval import average_precision, map_at_r, precision_at, r_precision, recall_at
from lookalike.metrics.verification import Pairs, auc, eer, tar_at_far
from lookalike.ranking import error_bound, pair_bands, rank
from lookalike.ranking.rank import rank_gallery
from lookalike.ranking.task import RankingSettings, RetrievalTask

METRICS = {
    "recall@1": partial(recall_at, k=1),
    "recall@20": partial(recall_at, k=20),
    "precision@5": partial(precision_at, k=5),
    "map@r": map_at_r,
    "r_precision": r_precision,
}
FARS = (0.3, 0.1, 0.01, 1e-3)


SMALL = RankingSettings(max_direct=0, tile=64, max_stored_pairs=0)
"""The methods for large galleries, at sizes that loops can check."""


@pytest.fixture
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def clustered_vectors(size=330, identities=60, dim=24, noise=1.3, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, identities, size)
    return rng.standard_normal((identities, dim))[labels] + noise * rng.standard_normal((size, dim)), labels


def copies(seed=0):
    """Many equal vectors, within identities and across."""
    vectors, labels = clustered_vectors(seed=seed)
    rng = np.random.default_rng(seed)
    vectors[rng.integers(0, len(vectors), 150)] = vectors[rng.integers(0, len(vectors), 150)]
    return vectors, labels


def signs(seed=0):
    """Few different scores, so most rows tie."""
    rng = np.random.default_rng(seed)
    return rng.integers(-1, 2, (300, 4)) + np.array([0, 0, 0, 1.5]), rng.integers(0, 40, 300)


def near_ties(seed=0):
    """Vectors that differ in the last bit of one number."""
    vectors, labels = clustered_vectors(seed=seed)
    unit = unit_vectors(vectors)
    twins = np.arange(0, 300, 3)
    unit[twins + 1] = unit[twins + 2] = unit[twins]
    unit[twins + 1, 0] += 1 / GRID
    return unit, labels


def collapsed_vectors(seed=0):
    """A model that gives all images nearly the same vector."""
    vectors, labels = clustered_vectors(seed=seed)
    return 1e-2 * vectors + 1, labels


def one_identity(seed=0):
    return clustered_vectors(seed=seed)[0], np.zeros(330, int)


def lone_identities(seed=0):
    vectors, labels = clustered_vectors(seed=seed)
    return vectors, np.where(np.arange(330) % 3, np.arange(330) + 1000, labels)


def two_halves(seed=0):
    return clustered_vectors(identities=2, noise=4, seed=seed)


SETS = [
    clustered_vectors,
    copies,
    signs,
    near_ties,
    collapsed_vectors,
    one_identity,
    lone_identities,
    two_halves,
]


def by_loops(sides, neighbours, ks=(1, 20)):
    """Every query's values, neighbours and pairs by the definitions, from a full sort in float64."""
    scores = sides.queries.astype(np.float64) @ sides.rows.astype(np.float64).T
    columns = {name: np.full(len(scores), np.nan) for name in (*METRICS, "map")}
    nearest = np.full((len(scores), neighbours), -1)
    pairs = ([], [])
    for query, row in enumerate(scores):
        seen = np.ones(len(row), bool)
        if sides.self_retrieval:
            seen[query] = False
        elif sides.exclude_row is not None and sides.exclude_row[query] >= 0:
            seen[sides.exclude_row[query]] = False
        same = (sides.codes == sides.query_codes[query]) & (sides.query_codes[query] >= 0)
        if sides.ignore != "nothing":
            grouped = sides.groups == sides.query_groups[query]
            seen &= ~(grouped & same) if sides.ignore == "identity_in_group" else ~grouped
        if sides.junk is not None:
            seen &= ~sides.junk
        order = [place for place in np.argsort(-row, kind="stable") if seen[place]]
        nearest[query, : len(order)] = order[:neighbours]
        later = seen & (np.arange(len(row)) > query) if sides.self_retrieval else seen
        pairs[0].append(row[later & same])
        pairs[1].append(row[later & ~same])
        right = same[order]
        total = int(right.sum())
        if not total:
            continue
        precision = np.cumsum(right) / np.arange(1, len(right) + 1)
        columns["recall@1"][query], columns["recall@20"][query] = (right[:k].any() for k in ks)
        columns["precision@5"][query] = right[:5].sum() / 5
        columns["r_precision"][query] = right[:total].mean()
        columns["map@r"][query] = (precision * right)[:total].sum() / total
        columns["map"][query] = precision[right].mean()
    return columns, nearest, tuple(map(np.concatenate, pairs))


def check(sides, settings=None, neighbours=6):
    run = partial(rank_gallery, settings=settings)
    expected, nearest, _ = by_loops(sides, neighbours)
    whole = run(sides, {**METRICS, "map": average_precision}, neighbours=neighbours)
    begun = run(sides, METRICS, neighbours=neighbours, depth=5, first=20)
    for found in (whole, begun):
        for name, column in found.columns.items():
            assert column == pytest.approx(expected[name], abs=1e-12, nan_ok=True), name
        assert (found.nearest == nearest[:, : found.nearest.shape[1]]).all()
        left = np.take_along_axis(sides.queries @ sides.rows.T, np.maximum(found.nearest, 0), axis=1)
        assert found.scores == pytest.approx(np.where(found.nearest < 0, -np.inf, left), abs=1e-6)
    bare = run(sides, METRICS, neighbours=0, depth=5, first=20)
    for name, column in bare.columns.items():
        assert column == pytest.approx(expected[name], abs=1e-12, nan_ok=True), name


@pytest.mark.parametrize("drawn", SETS)
def test_self_retrieval_equals_loops(drawn):
    vectors, labels = drawn()
    check(RetrievalTask(unit_vectors(vectors), labels), SMALL)


@pytest.mark.parametrize("drawn", [clustered_vectors, copies, signs])
def test_float32_is_as_good_where_bfloat16_is_not_fast(drawn):
    vectors, labels = drawn()
    check(RetrievalTask(unit_vectors(vectors), labels), replace(SMALL, bfloat16=False))


@pytest.mark.parametrize("spare", [0, 5])
def test_queries_with_too_many_candidates_are_ranked_whole(spare):
    for drawn in (clustered_vectors, copies):
        vectors, labels = drawn()
        check(RetrievalTask(unit_vectors(vectors), labels), replace(SMALL, spare_candidates=spare))


def sides_of(mode, drawn=clustered_vectors, seed=3):
    vectors, labels = drawn(seed=seed)
    unit = unit_vectors(vectors)
    rng = np.random.default_rng(seed)
    codes = np.where(rng.random(len(labels)) < 0.1, -1, labels)
    rows = rng.permutation(len(unit))[: len(unit) // 2]
    asked = {"queries": unit[rows], "query_codes": codes[rows], "gallery": unit, "gallery_codes": codes}
    groups = rng.integers(0, 4, len(unit))
    grouped = {"query_groups": groups[rows], "gallery_groups": groups, "exclude_row": rows}
    return {
        "plain": lambda: RetrievalTask(**asked),
        "own": lambda: RetrievalTask(**asked, exclude_row=np.where(rows % 5, rows, -1)),
        "junk": lambda: RetrievalTask(**asked, exclude_row=rows, junk=rng.random(len(unit)) < 0.2),
        "camera": lambda: RetrievalTask(**asked, **grouped, ignore="identity_in_group"),
        "group": lambda: RetrievalTask(**asked, **grouped, ignore="group"),
        "itself in its group": lambda: RetrievalTask(
            unit, codes, query_groups=groups, ignore="identity_in_group"
        ),
        "itself without its group": lambda: RetrievalTask(unit, codes, query_groups=groups, ignore="group"),
    }[mode]()


MODES = ["plain", "own", "junk", "camera", "group", "itself in its group", "itself without its group"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("large", [False, True])
def test_every_kind_of_sides_equals_loops(mode, large):
    settings = SMALL if large else None
    check(sides_of(mode), settings)
    check(sides_of(mode, copies), settings)


def rates(pairs, positive, negative):
    """Rates at every threshold that `tar_at_far` gives must be those of the scores themselves."""
    for far in FARS:
        point = tar_at_far(pairs, far, coarse=True)
        assert point.far == np.mean(negative >= point.threshold) <= far
        assert point.tar == np.mean(positive >= point.threshold)
        lower = np.mean(negative >= point.threshold - 2.0**-23)
        assert lower > far


def area(positive, negative):
    ordered = np.sort(negative)
    places = [np.searchsorted(ordered, positive, side=side) for side in ("left", "right")]
    return np.mean(places) / len(negative)


@pytest.mark.parametrize(
    "drawn", [clustered_vectors, copies, signs, near_ties, collapsed_vectors, two_halves]
)
@pytest.mark.parametrize("kept", [True, False])
def test_pairs_equal_loops(drawn, kept):
    settings = SMALL if kept else replace(SMALL, max_stored_positives=0)
    vectors, labels = drawn()
    sides = RetrievalTask(unit_vectors(vectors), labels)
    *_, (positive, negative) = by_loops(sides, 1)
    pairs = rank_gallery(sides, {}, neighbours=0, fars=FARS, settings=settings).pairs
    assert (pairs.positives, pairs.negatives) == (len(positive), len(negative))
    rates(pairs, positive, negative)
    smooth = kept and drawn is not signs
    assert auc(pairs) == pytest.approx(area(positive, negative), abs=2e-5 if smooth else 2e-3)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("large", [False, True])
def test_pairs_of_every_kind_of_sides_equal_loops(mode, large):
    sides = sides_of(mode)
    *_, (positive, negative) = by_loops(sides, 1)
    settings = SMALL if large else None
    pairs = rank_gallery(sides, METRICS, neighbours=2, fars=FARS, settings=settings).pairs
    assert (pairs.positives, pairs.negatives) == (len(positive), len(negative))
    rates(pairs, positive, negative)


def test_a_threshold_that_was_guessed_wrong_is_found_all_the_same(monkeypatch):
    monkeypatch.setattr(rank, "guess_bands", lambda *_: [pair_bands.band_of_scores(0.7, 0.71)])
    vectors, labels = clustered_vectors()
    sides = RetrievalTask(unit_vectors(vectors), labels)
    *_, (positive, negative) = by_loops(sides, 1)
    pairs = rank_gallery(sides, {}, neighbours=0, fars=FARS, settings=SMALL).pairs
    rates(pairs, positive, negative)


@pytest.mark.parametrize("mode", MODES)
def test_pairs_of_rotated_vectors_equal_loops(mode):
    sides = sides_of(mode)
    *_, (positive, negative) = by_loops(sides, 1)
    settings = replace(SMALL, rotate=True)
    pairs = rank_gallery(sides, METRICS, neighbours=2, fars=FARS, settings=settings).pairs
    rates(pairs, positive, negative)


def test_a_rate_that_was_not_asked_for_is_refused():
    vectors, labels = clustered_vectors()
    task = RetrievalTask(unit_vectors(vectors), labels)
    pairs = rank_gallery(task, {}, neighbours=0, fars=[], settings=SMALL).pairs
    with pytest.raises(ValueError, match=r"far=0\.2: pairs were not counted for this rate"):
        tar_at_far(pairs, 0.2)


def test_auc_and_equal_error_rate_of_many_pairs_are_those_of_all_scores():
    vectors, labels = clustered_vectors(size=2600, identities=500, dim=64, noise=1.8)
    sides = RetrievalTask(unit_vectors(vectors), labels)
    found = rank_gallery(sides, {}, neighbours=0, fars=FARS).pairs
    settings = RankingSettings(max_stored_pairs=0)
    rough = rank_gallery(sides, {}, neighbours=0, fars=FARS, settings=settings).pairs
    scores = sides.queries.astype(np.float64) @ sides.queries.T.astype(np.float64)
    later, same = np.triu(np.ones(scores.shape, bool), 1), labels[:, None] == labels
    exact = type(found).from_scores(scores[later & same], scores[later & ~same])
    assert found.exact
    assert not rough.exact
    assert (auc(found), eer(found)) == pytest.approx((auc(exact), eer(exact)), abs=1e-8)
    assert (auc(rough), eer(rough)) == pytest.approx((auc(exact), eer(exact)), abs=1e-5)


def test_scores_do_not_depend_on_the_order_of_adding():
    unit = unit_vectors(np.random.default_rng(0).standard_normal((50, 700))).astype(np.float64)
    order = np.random.default_rng(1).permutation(700)
    assert (unit @ unit.T == unit[:, order] @ unit[:, order].T).all()
    assert (unit @ unit.T == np.cumsum(unit[:, None] * unit, axis=2)[..., -1]).all()


def rounded_badly(kind, count, dim):
    """Unit vectors; aligned ones lose the same in every number, so that their errors add up."""
    rng = np.random.default_rng(0)
    vectors = {
        "random": rng.standard_normal((count, dim)),
        "aligned": 1 + 2.0**-8 + 1e-4 * rng.random((count, dim)),
        "sparse": rng.standard_normal((count, dim)) * (rng.random((count, dim)) < 0.05) + 1e-3,
    }
    return unit_vectors(vectors[kind])


@pytest.mark.parametrize("kind", ["random", "aligned", "sparse"])
@pytest.mark.parametrize("fast", [True, False])
def test_the_bound_of_the_error_holds(kind, fast):
    unit = rounded_badly(kind, 200, 96)
    low = error_bound.LowPrecisionVectors(unit, np.arange(200), torch.device("cpu"), bfloat16=fast)
    exact = unit.astype(np.float64) @ unit.T.astype(np.float64)
    rough = low.low.double() @ low.low.double().T
    bound = error_bound.error_bound(low, low)
    assert np.abs(rough.numpy() - exact).max() <= bound < 0.02
    codes = error_bound.Products(low.low, low.low).codes(slice(0, 200), slice(0, 200)).numpy()
    for line in (0.05, 0.3, 0.7):
        code = error_bound.code_below(np.array([line]))[0]
        assert (codes[exact >= error_bound.value_of(np.array([code]))[0] + bound] >= code).all()


@pytest.mark.parametrize("kind", ["random", "aligned", "sparse"])
def test_a_rotation_narrows_the_bound_of_the_error(kind):
    unit, device = rounded_badly(kind, 150, 768), torch.device("cpu")
    turned = error_bound.LowPrecisionVectors(
        unit, np.arange(150), device, error_bound.random_rotation(768, device), bfloat16=True
    )
    exact = unit.astype(np.float64) @ unit.T.astype(np.float64)
    rough = (turned.low.double() @ turned.low.double().T).numpy()
    errors = np.abs(rough - exact)
    for score in (0.1, 0.5, 1.0):
        assert errors[np.abs(exact) <= score].max(initial=0) <= error_bound.error_bound(turned, turned, score)
    plain = error_bound.LowPrecisionVectors(unit, np.arange(150), device, bfloat16=True)
    assert error_bound.error_bound(turned, turned, 0.1) < 0.6 * error_bound.error_bound(plain, plain)


def test_a_rotation_keeps_products_and_moves_every_axis():
    found = error_bound.random_rotation(40, torch.device("cpu"))
    assert torch.allclose(found @ found.T, torch.eye(40, dtype=torch.float64), atol=1e-12)
    assert found.abs().max() < 0.9


def test_directions_meet_at_no_smaller_angle_than_told():
    """With a chance of 0.1 that one of 4,000 does; the bound is not much wider than the widest of them."""
    directions = np.random.default_rng(0).standard_normal((4000, 63))
    cosines = np.abs(directions[:, 0]) / np.linalg.norm(directions, axis=1)
    bound = error_bound.max_rounding_error(64, 4000, chance=0.1)
    assert bound / 1.5 < cosines.max() <= bound


def test_blocks_threads_and_ways_do_not_matter(three_threads):
    vectors, labels = copies()
    sides = RetrievalTask(unit_vectors(vectors), labels)
    whole = rank_gallery(sides, METRICS, neighbours=5)
    for tile in (32, 100, 1024):
        settings = RankingSettings(max_direct=0, tile=tile)
        other = rank_gallery(sides, METRICS, neighbours=5, depth=20, settings=settings)
        assert (other.nearest == whole.nearest).all()
        assert (other.scores == whole.scores).all()
        for name, column in other.columns.items():
            assert column == pytest.approx(whole.columns[name], abs=1e-12, nan_ok=True)


def test_threads_of_torch_are_left_as_they_were():
    before = torch.get_num_threads()
    vectors, labels = clustered_vectors()
    rank_gallery(RetrievalTask(unit_vectors(vectors), labels), METRICS, settings=SMALL)
    assert torch.get_num_threads() == before
    assert torch.zeros(1).add_(1) == 1


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"gallery": np.ones((2, 1), np.float32)}, "both gallery and gallery_codes"),
        ({"exclude_row": np.zeros(3, int)}, "exclude_row and junk need a gallery"),
        ({"ignore": "group"}, "needs the groups"),
        ({"query_groups": np.zeros(2, int), "ignore": "group"}, r"query_groups has shape \[2\], \[3\]"),
    ],
)
def test_sides_that_do_not_fit_are_refused(given, said):
    with pytest.raises(ValueError, match=said):
        RetrievalTask(np.ones((3, 1), np.float32), np.zeros(3, int), **given)


def sorted_pairs(unit, labels):
    """Every pair, with its score as it is."""
    one, other = np.triu_indices(len(unit), 1)
    scores = (unit.astype(np.float64) @ unit.T.astype(np.float64))[one, other]
    same = labels[one] == labels[other]
    return Pairs.from_scores(scores[same], scores[~same])


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("kind", ["noise", "signs", "copies"])
def test_the_equal_error_rate_is_exact_and_ties_count_half(kind, kept):
    """Signs are hashes: few scores, which many pairs share. A rare one moves the AUC a little."""
    settings = RankingSettings(max_stored_pairs=0, max_stored_positives=1 << 22 if kept else 0)
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 200, 1100)
    vectors = rng.standard_normal((200, 24))[labels] + rng.standard_normal((1100, 24))
    vectors = np.sign(vectors) if kind == "signs" else vectors
    if kind == "copies":
        vectors[::2] = vectors[rng.integers(0, 1100, 550)]
    unit = unit_vectors(vectors)
    exact = sorted_pairs(unit, labels)
    options = {"neighbours": 0, "fars": [0.1], "crossing": True, "settings": settings}
    found = rank_gallery(RetrievalTask(unit, labels), {}, **options).pairs
    assert eer(found) == pytest.approx(eer(exact), abs=1e-6)
    assert auc(found) == pytest.approx(auc(exact), abs=3e-5)
    assert tar_at_far(found, 0.1).tar == tar_at_far(exact, 0.1).tar
