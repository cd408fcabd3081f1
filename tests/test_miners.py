"""Miners against plain loops over the rows, and against pytorch-metric-learning where it has them."""

import itertools
import math
from functools import partial

import pytest
import torch
from pytorch_metric_learning import distances
from pytorch_metric_learning import miners as peers

from lookalike import miners
from lookalike.losses import cosine

EVERY = {
    "keep_all": miners.keep_all,
    "multi_similarity": miners.multi_similarity,
    "hardest": miners.hardest,
    "semi_hard": miners.semi_hard,
    "easy_positive": miners.easy_positive,
    "easy_positive_hard": partial(miners.easy_positive, negatives="hard"),
    "easy_positive_all": partial(miners.easy_positive, negatives="all"),
    "distance_weighted": partial(miners.distance_weighted, dim=8),
    "pair_margin": miners.pair_margin,
    "hard_fraction": partial(miners.hard_fraction, fraction=0.3),
    "n_hardest": partial(miners.n_hardest, positives=2, negatives=3),
    "angular": miners.angular,
    "uniform_histogram": partial(miners.uniform_histogram, bins=7, per_bin=3),
}


def batch(sizes=(4, 4, 3, 1, 6), dim=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    centers = torch.randn(len(sizes), dim, generator=generator, dtype=torch.float64)
    noise = torch.randn(len(labels), dim, generator=generator, dtype=torch.float64)
    order = torch.randperm(len(labels), generator=generator)
    return (centers[labels] + noise)[order], labels[order]


def masks(embeddings, labels):
    same = labels[:, None] == labels[None, :]
    return cosine(embeddings, embeddings), same.clone().fill_diagonal_(False), ~same


def rows(sim, positive, negative):
    for line, p, n in zip(sim.tolist(), positive, negative, strict=True):
        yield line, p.nonzero().flatten().tolist(), n.nonzero().flatten().tolist()


def columns_by_row(positive, negative):
    return [
        (set(p.nonzero().flatten().tolist()), set(n.nonzero().flatten().tolist()))
        for p, n in zip(positive, negative, strict=True)
    ]


def from_peer(miner, embeddings, labels):
    """What a peer's miner keeps, as a pair of sets for each anchor."""
    kept = [(set(), set()) for _ in labels]
    indices = miner(embeddings, labels)
    if len(indices) == 3:
        indices = (indices[0], indices[1], indices[0], indices[2])
    anchors, positives, others, negatives = indices
    for a, p in zip(anchors.tolist(), positives.tolist(), strict=True):
        kept[a][0].add(p)
    for a, n in zip(others.tolist(), negatives.tolist(), strict=True):
        kept[a][1].add(n)
    return kept


def multi_similarity_by_hand(s, p, n, epsilon=0.1):
    if not p or not n:
        return set(), set()
    low, high = min(s[i] for i in p) - epsilon, max(s[i] for i in n) + epsilon
    return {i for i in p if s[i] < high}, {i for i in n if s[i] > low}


def hardest_by_hand(s, p, n):
    return ({min(p, key=lambda i: s[i])} if p else set()), ({max(n, key=lambda i: s[i])} if n else set())


def semi_hard_by_hand(s, p, n, margin=0.2):
    triplets = [(i, j) for i in p for j in n if s[i] - margin < s[j] < s[i]]
    return {i for i, _ in triplets}, {j for _, j in triplets}


def easy_positive_by_hand(s, p, n, negatives="semi_hard"):
    if not p:
        return set(), set()
    best = max(p, key=lambda i: s[i])
    if negatives == "semi_hard":
        n = [i for i in n if s[i] < s[best]]
    if n and negatives != "all":
        n = [max(n, key=lambda i: s[i])]
    return ({best}, set(n)) if n else (set(), set())


def n_hardest_by_hand(s, p, n):
    return set(sorted(p, key=lambda i: s[i])[:2]), set(sorted(n, key=lambda i: -s[i])[:3])


BY_HAND = {
    "n_hardest": n_hardest_by_hand,
    "multi_similarity": multi_similarity_by_hand,
    "hardest": hardest_by_hand,
    "semi_hard": semi_hard_by_hand,
    "easy_positive": easy_positive_by_hand,
    "easy_positive_hard": partial(easy_positive_by_hand, negatives="hard"),
    "easy_positive_all": partial(easy_positive_by_hand, negatives="all"),
}


@pytest.mark.parametrize("name", BY_HAND)
@pytest.mark.parametrize("seed", range(3))
def test_keeps_what_a_loop_keeps(name, seed):
    pairs = masks(*batch(seed=seed))
    expected = [BY_HAND[name](*row) for row in rows(*pairs)]
    assert columns_by_row(*EVERY[name](*pairs)) == expected


@pytest.mark.parametrize(
    ("name", "peer"),
    [
        ("multi_similarity", partial(peers.MultiSimilarityMiner, epsilon=0.1)),
        (
            "semi_hard",
            partial(peers.TripletMarginMiner, 0.2, "semihard", distance=distances.CosineSimilarity()),
        ),
        ("easy_positive", partial(peers.BatchEasyHardMiner, "easy", "semihard")),
        ("easy_positive_hard", partial(peers.BatchEasyHardMiner, "easy", "hard")),
        ("pair_margin", partial(peers.PairMarginMiner, 0.8, 0.2, distance=distances.CosineSimilarity())),
        ("hard_fraction", partial(peers.HDCMiner, 0.3)),
        ("angular", partial(peers.AngularMiner, math.degrees(0.35))),
    ],
)
def test_keeps_what_pytorch_metric_learning_keeps(name, peer):
    embeddings, labels = batch((4,) * 6)
    embeddings = torch.nn.functional.normalize(embeddings)
    kept = columns_by_row(*EVERY[name](*masks(embeddings, labels)))
    assert any(p or n for p, n in kept)
    assert kept == from_peer(peer(), embeddings, labels)


@pytest.mark.parametrize("name", EVERY)
def test_only_narrows_and_leaves_its_input(name):
    pairs = masks(*batch())
    before = [part.clone() for part in pairs]
    positive, negative = EVERY[name](*pairs)
    assert not (positive & ~pairs[1]).any() and not (negative & ~pairs[2]).any()
    assert all(torch.equal(part, old) for part, old in zip(pairs, before, strict=True))


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_degenerate_masks_are_safe(name, dtype):
    sim = torch.ones(3, 3, dtype=dtype)
    no, yes = torch.zeros(3, 3, dtype=torch.bool), torch.ones(3, 3, dtype=torch.bool)
    for positive, negative in ((no, no), (yes, no), (no, yes)):
        kept = EVERY[name](sim, positive, negative)
        assert not (kept[0] & ~positive).any() and not (kept[1] & ~negative).any()
    for value in (1.0, -1.0, 0.0):
        eye = torch.eye(3, dtype=torch.bool)
        EVERY[name](torch.full((3, 3), value, dtype=dtype), eye, ~eye)
    assert EVERY[name](sim[:1, :1], no[:1, :1], no[:1, :1])[0].shape == (1, 1)


def draw_weight(distance, dim, cutoff):
    """One over the density of distances on a sphere, `1 / q(d)`, as the paper writes it."""
    d = max(distance, cutoff)
    return 1 / (d ** (dim - 2) * (1 - d * d / 4) ** ((dim - 3) / 2))


def test_distance_weighted_draws_in_proportion_to_one_over_the_density():
    dim, similar = 6, [0.0, 0.95, 0.99, 0.6, 0.3, 0.1, -0.2]
    length = [math.sqrt(2 - 2 * s) for s in similar]
    weights = [draw_weight(d, dim, 0.5) * (d < 1.4) for d in length[1:]]
    assert weights[-1] == 0 and weights[0] == weights[1]  # too far; both nearer than the cutoff
    times = 40_000
    sim = torch.tensor(similar).expand(times, 7)
    positive = (torch.arange(7) == 0).expand(times, 7)
    torch.manual_seed(0)
    kept, drawn = miners.distance_weighted(sim, positive, ~positive, dim=dim)
    assert torch.equal(kept, positive)
    assert (drawn.sum(dim=1) == 1).all()
    share = torch.tensor(weights) / sum(weights)
    spread = (share * (1 - share) / times).sqrt()
    assert ((drawn.float().mean(dim=0)[1:] - share).abs() <= 4 * spread).all()


def test_distance_weighted_draws_a_negative_for_each_positive():
    sim, positive, negative = masks(*batch())
    sim = sim.clamp_min(0.1)  # none is too far
    _, drawn = miners.distance_weighted(sim, positive, negative, dim=8)
    assert torch.equal(drawn.sum(dim=1), positive.sum(dim=1))
    _, none = miners.distance_weighted(torch.full_like(sim, -0.5), positive, negative, dim=8)
    assert not none.any()


def test_distance_weighted_obeys_the_seed_and_ignores_empty_columns():
    sim, positive, negative = masks(*batch())
    more = torch.cat([sim, torch.zeros(len(sim), 5)], dim=1)
    empty = torch.zeros(len(sim), 5, dtype=torch.bool)
    wide = torch.cat([positive, empty], dim=1), torch.cat([negative, empty], dim=1)
    draws = []
    for pairs in ((sim, positive, negative), (more, *wide), (sim, positive, negative)):
        torch.manual_seed(3)
        draws.append(miners.distance_weighted(*pairs, dim=8)[1][:, : len(sim)])
    assert torch.equal(draws[0], draws[1]) and torch.equal(draws[0], draws[2])
    assert not torch.equal(draws[0], miners.distance_weighted(sim, positive, negative, dim=8)[1])


def test_a_wrong_word_is_named_with_what_is_allowed():
    with pytest.raises(
        ValueError, match="easy_positive negatives 'soft': negatives must be one of semi_hard, hard, all"
    ):
        miners.easy_positive(*masks(*batch()), negatives="soft")


@pytest.mark.parametrize("side", [1, 2])
def test_uniform_histogram_keeps_as_many_as_there_are_up_to_the_limit_at_each_distance(side):
    pairs = masks(*batch((6,) * 5))
    distance = (2 - 2 * pairs[0]).clamp_min(0).sqrt()
    kept = miners.uniform_histogram(*pairs, bins=7, per_bin=3)[side - 1]
    edges = torch.linspace(distance[pairs[side]].min(), distance[pairs[side]].max(), 8, dtype=distance.dtype)
    edges[-1] += 1e-9
    for low, high in itertools.pairwise(edges):
        inside = (distance >= low) & (distance < high)
        assert (kept & inside).sum() == min(3, int((pairs[side] & inside).sum()))


@pytest.mark.parametrize(
    ("name", "wrong", "message"),
    [
        ("hard_fraction", {"fraction": 0.0}, "hard_fraction fraction 0.0: must be above 0"),
        ("n_hardest", {"negatives": 0}, "n_hardest negatives 0: negatives must be a whole number"),
        ("angular", {"angle": 1.6}, "angular angle 1.6: an angle in radians"),
        ("uniform_histogram", {"bins": 0.5}, "uniform_histogram bins 0.5: bins must be a whole number"),
    ],
)
def test_values_out_of_range_are_refused(name, wrong, message):
    with pytest.raises(ValueError, match=message):
        getattr(miners, name)(*masks(*batch()), **wrong)
