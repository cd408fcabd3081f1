"""Triplet against loops written from the papers, in float64, and against pytorch-metric-learning."""

import itertools
import math

import pytest
import torch
from pytorch_metric_learning import distances, losses, miners, reducers

from lookalike.losses import Triplet, _triplets
from lookalike.losses.modifiers import set_progress

DISTANCES = {
    "euclidean": lambda a, b: float((a - b).norm()),
    "squared": lambda a, b: float((a - b).square().sum()),
    "cosine": lambda a, b: 1 - float(a @ b),
}


MININGS = ["batch_all", "batch_hard", "hard_negative", "semi_hard", "semi_hard_window"]


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
    if mining in ("semi_hard", "semi_hard_window"):
        for a, p, negatives in valid(labels):
            beyond = [n for n in negatives if d[a][n] > d[a][p]]
            if mining == "semi_hard_window":
                beyond = [n for n in beyond if d[a][n] < d[a][p] + margin]
            if beyond:
                chosen.append((a, p, min(beyond, key=lambda n: d[a][n])))
            elif mining == "semi_hard":
                chosen.append((a, p, max(negatives, key=lambda n: d[a][n])))
    if mining == "hard_negative":
        chosen = [(a, p, min(negatives, key=lambda n: d[a][n])) for a, p, negatives in valid(labels)]
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


@pytest.fixture(params=[48, 1])
def few(request, monkeypatch):
    """Both ways to sum: comparing one by one, up to so many positives a class, and searching sorted rows."""
    monkeypatch.setattr(_triplets, "FEW", request.param)


@pytest.mark.parametrize("mining", MININGS)
@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("soft", [False, True])
def test_equals_the_papers_written_as_loops(mining, distance, soft, few):
    embeddings, labels = batch()
    loss = Triplet(mining, distance, margin=0.3, soft_margin=soft)
    value = loss(embeddings, labels)
    expected, share = naive(mining, table(embeddings, distance), labels, 0.3, soft)
    torch.testing.assert_close(value.detach(), expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(loss.active_share.double(), share, rtol=1e-6, atol=1e-6)
    assert torch.autograd.gradcheck(lambda x: loss(x, labels), embeddings, fast_mode=True)


@pytest.mark.parametrize("sizes", [(4,) * 16, (40, 3, 1, 1, 20)])
@pytest.mark.parametrize("distance", ["euclidean", "squared"])
def test_batch_all_equals_pytorch_metric_learning(few, sizes, distance):
    embeddings, labels = batch(sizes, spread=1.0)
    mine = Triplet("batch_all", distance, margin=0.2)(embeddings, labels)
    gradient = torch.autograd.grad(mine, embeddings)[0]
    power = {"euclidean": 1, "squared": 2}[distance]
    peer = losses.TripletMarginLoss(margin=0.2, distance=distances.LpDistance(power=power))(
        embeddings, labels
    )
    torch.testing.assert_close(mine, peer, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradient, torch.autograd.grad(peer, embeddings)[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize("mining", ["batch_all", "batch_hard"])
def test_swap_equals_pytorch_metric_learning(mining, smooth):
    embeddings, labels = batch((4, 2, 5, 1, 3), spread=1.0)
    soft = "with_margin" if smooth else False
    mine = Triplet(mining, margin=0.3, soft_margin=soft, swap=True)
    value = mine(embeddings, labels)
    chosen = miners.BatchHardMiner()(embeddings, labels) if mining == "batch_hard" else None
    reducer = reducers.MeanReducer() if mining == "batch_hard" or smooth else None
    peer = losses.TripletMarginLoss(margin=0.3, swap=True, smooth_loss=smooth, reducer=reducer)
    expected = peer(embeddings, labels, chosen)
    torch.testing.assert_close(value, expected, rtol=1e-8, atol=1e-8)
    assert value > Triplet(mining, margin=0.3, soft_margin=soft)(embeddings, labels)
    found, wanted = (torch.autograd.grad(each, embeddings)[0] for each in (value, expected))
    torch.testing.assert_close(found, wanted, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("mining", MININGS)
@pytest.mark.parametrize("distance", DISTANCES)
def test_swap_takes_the_nearer_of_two_distances(mining, distance):
    embeddings, labels = batch()
    loss = Triplet(mining, distance, margin=0.3, swap=True)
    assert torch.autograd.gradcheck(lambda x: loss(x, labels), embeddings, fast_mode=True)
    rows = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))[:15].view(3, 5)
    anchor, positive, negative = (embeddings[each] for each in rows)
    unit = [torch.nn.functional.normalize(each.detach()) for each in (anchor, positive, negative)]
    far, near = (
        [DISTANCES[distance](a, b) for a, b in zip(*pair, strict=True)] for pair in (unit[::2], unit[1:])
    )
    close = [DISTANCES[distance](a, b) for a, b in zip(*unit[:2], strict=True)]
    excess = [max(0, p - min(n, m) + 0.3) for p, n, m in zip(close, far, near, strict=True)]
    assert loss.triplets(anchor, positive, negative).item() == pytest.approx(sum(excess) / 5)


def test_a_positive_from_a_memory_keeps_its_negative():
    """The memory's own distances are not known to the loss, so its triplets are not swapped."""
    embeddings, labels = batch((3, 3))
    extra = (embeddings.detach()[:2] + 0.1, labels[:2])
    values = [Triplet(swap=swap)(embeddings[2:], labels[2:], extra) for swap in (False, True)]
    assert values[1] >= values[0]
    values[1].backward()
    assert embeddings.grad.isfinite().all()


def test_a_smooth_loss_with_the_margin_equals_pytorch_metric_learning(few):
    embeddings, labels = batch((4,) * 6, spread=1.0)
    mine = Triplet("batch_all", margin=0.3, soft_margin="with_margin")(embeddings, labels)
    peer = losses.TripletMarginLoss(margin=0.3, smooth_loss=True)(embeddings, labels)
    torch.testing.assert_close(mine, peer, rtol=1e-8, atol=1e-8)
    found, expected = (torch.autograd.grad(each, embeddings)[0] for each in (mine, peer))
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-8)
    with pytest.raises(ValueError, match="soft_margin 'yes': soft_margin must be one of true, false"):
        Triplet(soft_margin="yes")


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


def test_semi_hard_takes_the_farthest_negative_where_none_is_beyond_the_positive(few):
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
    for mining in set(MININGS) - {"semi_hard_window"}:  # there it is the width of the window too
        small, large = (Triplet(mining, margin=margin)(embeddings, labels) for margin in (0.2, 2.0))
        assert large > small + 0.3


def test_memory_of_batch_all_does_not_grow_with_the_triplets():
    """A batch with 33 million triplets; listing them once would take 400 MB of single precision numbers."""
    embeddings = torch.randn(512, 8, requires_grad=True)
    labels = torch.arange(512) % 2
    Triplet("batch_all")(embeddings, labels).backward()
    assert embeddings.grad.isfinite().all()


@pytest.mark.parametrize(
    ("argument", "value"), [("mining", "hardest"), ("distance", "l2"), ("then", "hardest")]
)
def test_a_wrong_choice_is_named_with_what_is_allowed(argument, value):
    with pytest.raises(ValueError, match=f"Triplet {argument} '{value}': {argument} must be one of"):
        Triplet(**{argument: value})


@pytest.mark.parametrize(("argument", "value"), [("margin", -0.1), ("then_at", 1.5)])
def test_a_wrong_number_is_refused(argument, value):
    with pytest.raises(ValueError, match=f"Triplet {argument} {value}: {argument} must be"):
        Triplet(**{argument: value})


@pytest.mark.parametrize("distance", DISTANCES)
def test_no_pair_with_a_negative_in_the_window_is_a_connected_zero(distance):
    embeddings, labels = batch(spread=1e-3)
    loss = Triplet("semi_hard_window", distance, margin=1e-3)
    value = loss(embeddings, labels)
    value.backward()
    assert value == 0 and embeddings.grad.abs().max() == 0
    assert loss.active_share.isnan()


def test_the_window_follows_the_positive():
    angles = torch.tensor([0.0, 1.0, 1.1, 1.4, 0.9], dtype=torch.float64, requires_grad=True)
    vectors = torch.stack([angles.cos(), angles.sin()], dim=1)
    labels = torch.tensor([0, 0, 1, 2, 3])
    value = Triplet("semi_hard_window", "cosine", margin=0.3)(vectors, labels)
    first = (
        (1 - math.cos(1.0)) - (1 - math.cos(1.1)) + 0.3
    )  # for anchor 0: 0.9 is nearer than 1.0, 1.1 is inside
    assert value.item() == pytest.approx(first)  # for anchor 1 all negatives are nearer than its positive


def test_mining_changes_once_when_its_share_of_training_is_done():
    embeddings, labels = batch()
    loss = Triplet("semi_hard", then="batch_hard", then_at=0.4)
    before, after = (Triplet(mining)(embeddings, labels) for mining in ("semi_hard", "batch_hard"))
    for done, expected in ((0.0, before), (0.39, before), (0.4, after), (1.0, after), (0.1, before)):
        set_progress(loss, done)
        torch.testing.assert_close(loss(embeddings, labels), expected)
    alone = Triplet("semi_hard")
    set_progress(alone, 1.0)
    torch.testing.assert_close(alone(embeddings, labels), before)


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("soft", [False, True])
def test_triplets_from_outside_are_the_formula(distance, soft):
    generator = torch.Generator().manual_seed(1)
    rows = [torch.randn(7, 5, generator=generator, dtype=torch.float64).requires_grad_() for _ in range(3)]
    loss = Triplet(distance=distance, margin=0.3, soft_margin=soft)
    a, p, n = (torch.nn.functional.normalize(part.detach()) for part in rows)
    d = DISTANCES[distance]
    excess = torch.tensor(
        [d(a[i], p[i]) - d(a[i], n[i]) + (0 if soft else 0.3) for i in range(7)], dtype=torch.float64
    )
    expected = torch.nn.functional.softplus(excess) if soft else excess.relu()
    torch.testing.assert_close(loss.triplets(*rows).detach(), expected.mean())
    torch.testing.assert_close(loss.active_share.double(), (excess > 0).double().mean())
    assert torch.autograd.gradcheck(loss.triplets, rows)


def test_triplets_from_outside_equal_torch():
    rows = [torch.randn(9, 5, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    unit = [torch.nn.functional.normalize(part) for part in rows]
    expected = torch.nn.TripletMarginLoss(margin=0.2, eps=0)(*unit)
    value = Triplet(margin=0.2).triplets(*rows)
    torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-6)
    found, wanted = (torch.autograd.grad(each, rows) for each in (value, expected))
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_degenerate_triplets_from_outside_are_finite(dtype, value):
    rows = [torch.full((3, 5), value, dtype=dtype, requires_grad=True) for _ in range(3)]
    for count in (3, 0):
        loss = Triplet().triplets(*(part[:count] for part in rows))
        loss.backward()
        assert loss.isfinite() and all(part.grad.isfinite().all() for part in rows)


def test_triplets_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match=r"one shape \[N, D\], got \[3, 5\], \[3, 5\], \[2, 5\]"):
        Triplet().triplets(torch.ones(3, 5), torch.ones(3, 5), torch.ones(2, 5))


def test_many_blocks_of_rows_equal_one(monkeypatch):
    embeddings, labels = batch()
    for soft in (False, True):
        loss = Triplet(margin=0.3, soft_margin=soft)
        whole = loss(embeddings, labels)
        with monkeypatch.context() as patch:
            patch.setattr(
                _triplets, "blocks", lambda table: (slice(row, row + 5) for row in range(0, len(table), 5))
            )
            parts = loss(embeddings, labels)
        torch.testing.assert_close(parts, whole)
        gradients = [torch.autograd.grad(value, embeddings)[0] for value in (parts, whole)]
        torch.testing.assert_close(*gradients)
