"""Triplet against loops written from the papers, in float64, and against pytorch-metric-learning."""

import itertools

import pytest
import torch
from pytorch_metric_learning import distances, losses, miners, reducers

from lookalike.losses import Triplet, _triplets

DISTANCES = {
    "euclidean": lambda a, b: float((a - b).norm()),
    "squared": lambda a, b: float((a - b).square().sum()),
    "cosine": lambda a, b: 1 - float(a @ b),
}


def batch(sizes=(4, 4, 3, 1, 6), dim=8, seed=0, spread=0.5):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    centers = torch.randn(len(sizes), dim, generator=generator, dtype=torch.float64)
    noise = torch.randn(len(labels), dim, generator=generator, dtype=torch.float64)
    order = torch.randperm(len(labels), generator=generator)
    return (centers[labels] + spread * noise)[order].requires_grad_(), labels[order]


def table(embeddings, distance):
    unit = torch.nn.functional.normalize(embeddings.detach().double())
    return [[DISTANCES[distance](a, b) for b in unit] for a in unit]


def valid(labels):
    """Every (anchor, positive) with the list of its negatives."""
    rows = range(len(labels))
    for a, p in itertools.permutations(rows, 2):
        negatives = [n for n in rows if labels[n] != labels[a]]
        if labels[a] == labels[p] and negatives:
            yield a, p, negatives


def naive(mining, d, labels, margin, soft):
    labels = labels.tolist()
    chosen = []
    if mining == "batch_all":
        chosen = [(a, p, n) for a, p, negatives in valid(labels) for n in negatives]
    if mining == "semi_hard":
        for a, p, negatives in valid(labels):
            beyond = [n for n in negatives if d[a][n] > d[a][p]]
            nearest = min(beyond, key=lambda n: d[a][n]) if beyond else max(negatives, key=lambda n: d[a][n])
            chosen.append((a, p, nearest))
    if mining == "batch_hard":
        best = {}
        for a, p, negatives in valid(labels):
            farthest = max((p, best.get(a, (p, p))[0]), key=lambda row: d[a][row])
            best[a] = farthest, min(negatives, key=lambda n: d[a][n])
        chosen = [(a, p, n) for a, (p, n) in best.items()]
    excess = torch.tensor(
        [d[a][p] - d[a][n] + (0 if soft else margin) for a, p, n in chosen], dtype=torch.float64
    )
    values = torch.nn.functional.softplus(excess) if soft else excess.relu()
    share = (excess > 0).double().mean()
    if mining == "batch_all" and not soft:
        values = values[values > 0]
    return values.mean(), share


@pytest.mark.parametrize("mining", ["batch_all", "batch_hard", "semi_hard"])
@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("few", [48, 1])
def test_equals_the_papers_written_as_loops(mining, distance, soft, few, monkeypatch):
    monkeypatch.setattr(_triplets, "FEW", few)
    embeddings, labels = batch()
    loss = Triplet(mining, distance, margin=0.3, soft_margin=soft)
    value = loss(embeddings, labels)
    expected, share = naive(mining, table(embeddings, distance), labels, 0.3, soft)
    torch.testing.assert_close(value.detach(), expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(loss.active_share.double(), share, rtol=1e-6, atol=1e-6)
    assert torch.autograd.gradcheck(lambda x: loss(x, labels), embeddings)


@pytest.mark.parametrize("few", [48, 1])
@pytest.mark.parametrize("sizes", [(4,) * 16, (40, 3, 1, 1, 20)])
@pytest.mark.parametrize("distance", ["euclidean", "squared"])
def test_batch_all_equals_pytorch_metric_learning(few, sizes, distance, monkeypatch):
    monkeypatch.setattr(_triplets, "FEW", few)
    embeddings, labels = batch(sizes, spread=1.0)
    mine = Triplet("batch_all", distance, margin=0.2)(embeddings, labels)
    gradient = torch.autograd.grad(mine, embeddings)[0]
    power = {"euclidean": 1, "squared": 2}[distance]
    peer = losses.TripletMarginLoss(margin=0.2, distance=distances.LpDistance(power=power))(
        embeddings, labels
    )
    torch.testing.assert_close(mine, peer, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradient, torch.autograd.grad(peer, embeddings)[0], rtol=1e-5, atol=1e-5)


def test_batch_hard_equals_pytorch_metric_learning():
    embeddings, labels = batch((4,) * 16, spread=1.0)
    mine = Triplet("batch_hard", margin=0.2)(embeddings, labels)
    chosen = miners.BatchHardMiner()(embeddings, labels)
    peer = losses.TripletMarginLoss(margin=0.2, reducer=reducers.MeanReducer())(embeddings, labels, chosen)
    torch.testing.assert_close(mine, peer, rtol=1e-5, atol=1e-5)
    expected = torch.autograd.grad(peer, embeddings)[0]
    torch.testing.assert_close(torch.autograd.grad(mine, embeddings)[0], expected, rtol=1e-5, atol=1e-5)


def test_single_precision_is_as_close_as_single_precision_can_be():
    embeddings, labels = batch((4,) * 32, dim=64, spread=1.0)
    value = Triplet("batch_all")(embeddings.float(), labels)
    torch.testing.assert_close(value.double(), Triplet("batch_all")(embeddings, labels), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("few", [48, 1])
def test_semi_hard_takes_the_farthest_negative_where_none_is_beyond_the_positive(few, monkeypatch):
    monkeypatch.setattr(_triplets, "FEW", few)
    angles = torch.tensor(
        [0.0, 2.0, 0.5, 1.0]
    ).requires_grad_()  # the positive is farther than both negatives
    vectors = torch.stack([angles.cos(), angles.sin()], dim=1)
    labels = torch.tensor([0, 0, 1, 2])
    value = Triplet("semi_hard", "cosine", margin=0.2)(vectors, labels)
    first = torch.cos(torch.tensor(1.0)) - torch.cos(torch.tensor(2.0)) + 0.2
    second = torch.cos(torch.tensor(1.5)) - torch.cos(torch.tensor(2.0)) + 0.2
    torch.testing.assert_close(value, (first + second) / 2)


def test_margin_is_honoured_by_every_mining():
    embeddings, labels = batch()
    for mining in ("batch_all", "batch_hard", "semi_hard"):
        small, large = (Triplet(mining, margin=margin)(embeddings, labels) for margin in (0.2, 2.0))
        assert large > small + 0.3


def test_memory_of_batch_all_does_not_grow_with_the_triplets():
    """A batch with 33 million triplets; listing them once would take 400 MB of single precision numbers."""
    embeddings = torch.randn(512, 8, requires_grad=True)
    labels = torch.arange(512) % 2
    Triplet("batch_all")(embeddings, labels).backward()
    assert embeddings.grad.isfinite().all()


@pytest.mark.parametrize(("argument", "value"), [("mining", "hardest"), ("distance", "l2")])
def test_a_wrong_choice_is_named_with_what_is_allowed(argument, value):
    with pytest.raises(ValueError, match=f"Triplet {argument} '{value}': {argument} is one of"):
        Triplet(**{argument: value})
