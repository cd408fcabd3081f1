"""Losses that set each positive against negatives by softmax, against float64 loops and the peer library."""

import itertools
import math

import pytest
import torch
from pytorch_metric_learning import losses

from lookalike.losses import Angular, NPairs, NTXent, SupCon, TupletMargin


def batch(classes=6, per_class=4, dim=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(classes).repeat_interleave(per_class)
    centers = torch.randn(classes, dim, generator=generator, dtype=torch.float64)
    noise = torch.randn(len(labels), dim, generator=generator, dtype=torch.float64)
    order = torch.randperm(len(labels), generator=generator)
    return (0.6 * centers[labels] + noise)[order].requires_grad_(), labels[order]


def anchors(labels, names):
    """Every anchor of the batch that has both, with the columns of its positives and negatives."""
    for a, y in enumerate(labels.tolist()):
        same = [x for x, name in enumerate(names.tolist()) if name == y and x != a]
        other = [x for x, name in enumerate(names.tolist()) if name != y]
        if same and other:
            yield a, same, other


def naive_tuplets(excess, unit, labels, names):
    """Mean of log(1 + Σ exp(excess)) over positive pairs; `excess(unit, a, p, n)`."""
    terms = [
        torch.log(1 + sum(excess(unit, a, p, n).exp() for n in other))
        for a, same, other in anchors(labels, names)
        for p in same
    ]
    return sum(terms) / len(terms)


def nt_xent(unit, a, p, n):
    return (unit[a] @ unit[n] - unit[a] @ unit[p]) / 0.2


def n_pairs(raw, a, p, n):
    return raw[a] @ raw[n] - raw[a] @ raw[p]


def tuplet_margin(unit, a, p, n):
    return 16 * (unit[a] @ unit[n] - torch.cos(torch.acos(unit[a] @ unit[p]) - 0.2))


def angular(unit, a, p, n):
    square = math.tan(0.8) ** 2
    return 4 * square * (unit[a] + unit[p]) @ unit[n] - 2 * (1 + square) * unit[a] @ unit[p]


def naive_sup_con(unit, labels, names):
    terms = []
    for a, same, other in anchors(labels, names):
        below = sum((unit[a] @ unit[x] / 0.2).exp() for x in same + other)
        terms.append(-sum(((unit[a] @ unit[p] / 0.2).exp() / below).log() for p in same) / len(same))
    return sum(terms) / len(terms)


def assert_same(mine, expected, embeddings, tolerance=1e-9):
    torch.testing.assert_close(mine, expected, rtol=tolerance, atol=tolerance)
    gradient, wanted = (torch.autograd.grad(value, embeddings)[0] for value in (mine, expected))
    torch.testing.assert_close(gradient, wanted, rtol=tolerance, atol=tolerance)


def assert_is_the_formula(loss, naive, with_memory=True):
    embeddings, labels = batch()
    unit = torch.nn.functional.normalize(embeddings) if not loss.uses_length else embeddings
    assert_same(loss(embeddings, labels), naive(unit, labels, labels), embeddings)
    if with_memory:
        seen, names = batch(seed=1)
        embeddings, labels = batch()
        everything = torch.cat([embeddings, seen.detach()])
        unit = torch.nn.functional.normalize(everything) if not loss.uses_length else everything
        value = loss(embeddings, labels, extra=(seen.detach(), names))
        assert_same(value, naive(unit, labels, torch.cat([labels, names])), embeddings)


@pytest.mark.parametrize(
    ("loss", "excess"),
    [(NTXent(0.2), nt_xent), (NPairs(l2=0), n_pairs), (TupletMargin(0.2, 16), tuplet_margin)],
)
def test_tuplets_are_the_formula_of_the_paper(loss, excess):
    assert_is_the_formula(loss, lambda *rest: naive_tuplets(excess, *rest))


def test_angular_is_the_formula_of_the_paper():
    assert_is_the_formula(Angular(0.8), lambda *rest: naive_tuplets(angular, *rest), with_memory=False)


def test_sup_con_is_the_formula_of_the_paper():
    assert_is_the_formula(SupCon(0.2), naive_sup_con)


@pytest.mark.parametrize(
    ("mine", "peer"),
    [
        (NTXent(0.07), losses.NTXentLoss(0.07)),
        (SupCon(0.1), losses.SupConLoss(0.1)),
        (TupletMargin(0.1, 64), losses.TupletMarginLoss(math.degrees(0.1), 64)),
    ],
)
@pytest.mark.parametrize("per_class", [2, 4])
def test_equals_pytorch_metric_learning(mine, peer, per_class):
    embeddings, labels = batch(per_class=per_class)
    assert_same(mine(embeddings, labels), peer(embeddings, labels), embeddings, 1e-5)


@pytest.mark.parametrize("alpha", [0.7, 1.1])
@pytest.mark.parametrize("per_class", [2, 4])
def test_angular_equals_pytorch_metric_learning_on_unit_vectors(alpha, per_class):
    """The peer normalises anchors and positives, but not negatives."""
    embeddings, labels = batch(per_class=per_class)
    peer = losses.AngularLoss(math.degrees(alpha))(torch.nn.functional.normalize(embeddings), labels)
    assert_same(Angular(alpha)(embeddings, labels), peer, embeddings, 1e-5)


def test_n_pairs_equals_pytorch_metric_learning_with_a_miner_that_keeps_its_pairs():
    embeddings, labels = batch()
    first, second = zip(*((labels == y).nonzero()[:2, 0].tolist() for y in labels.unique()), strict=True)

    def miner(sim, positive, negative):
        chosen = torch.zeros_like(positive)
        for a, p in itertools.product(first, second):
            chosen[a, p] = True
        return positive & chosen, negative & chosen

    mine = NPairs(l2=0, miner=miner)(embeddings, labels)
    peer = losses.NPairsLoss()
    peer.distance.normalize_embeddings = False
    assert_same(mine, peer(embeddings, labels), embeddings, 1e-5)


def test_n_pairs_keeps_the_length_small():
    embeddings, labels = batch()
    unknown = labels.clone()
    unknown[0] = -1
    more = NPairs(l2=0.1)(embeddings, unknown) - NPairs(l2=0)(embeddings, unknown)
    torch.testing.assert_close(more, 0.1 * embeddings[1:].square().sum(dim=1).mean())


def test_angular_takes_only_negatives_from_a_memory():
    embeddings, labels = batch()
    seen, names = batch(seed=1)
    alone = Angular()(embeddings, labels)
    same = torch.full_like(names, int(labels[0]))
    loss = Angular()
    with_positives = loss(embeddings[labels == labels[0]], labels[labels == labels[0]], (seen.detach(), same))
    assert with_positives == 0
    assert loss(embeddings, labels, (seen.detach(), names)) > alone


def test_angular_is_exact_in_single_precision_at_its_largest_angle():
    """Anchor and positive are opposite, each with a negative on top of it: products of far and near."""
    embeddings = torch.tensor([[1.0, 0], [-1.0, 0], [1.0, 0], [-1.0, 0]]).requires_grad_()
    labels = torch.tensor([0, 0, 1, 1])
    value = Angular(1.13)(embeddings, labels)
    torch.testing.assert_close(value.double(), Angular(1.13)(embeddings.double(), labels), rtol=1e-6, atol=0)
    square = math.tan(1.13) ** 2
    assert value.item() == pytest.approx(2 * (1 + square) + math.log(2), rel=1e-6)


def test_sup_con_of_one_class_is_zero():
    embeddings, labels = batch(classes=1)
    assert SupCon()(embeddings, labels) == 0


def test_a_positive_within_the_margin_costs_less_than_an_equal_one():
    """The slack is the tuplet loss's own: the best angle to a positive is the margin, not zero."""
    loss, away = TupletMargin(0.2, 8), torch.tensor([0.0, 0.2])
    equal, within = (
        loss(
            torch.stack(
                [torch.tensor([1.0, 0.0]), torch.stack([turn.cos(), turn.sin()]), torch.tensor([0.0, -1.0])]
            ),
            torch.tensor([0, 0, 1]),
        )
        for turn in away
    )
    assert within < equal


@pytest.mark.parametrize("loss", [NTXent(), SupCon(), NPairs(), TupletMargin(), Angular()])
def test_memory_is_that_of_the_matrix_however_many_the_pairs(loss):
    """Two classes: 32,000 positive pairs with 128 negatives each would be 4 million numbers."""
    embeddings, labels = torch.randn(256, 8, requires_grad=True), torch.arange(256) % 2
    sizes = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: sizes.append(x.numel()) or x, lambda x: x):
        loss(embeddings, labels).backward()
    assert max(sizes) <= 2 * 256**2
    assert embeddings.grad.isfinite().all()


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: NTXent(0), "NTXent temperature 0"),
        (lambda: SupCon(-1), "SupCon temperature -1"),
        (lambda: NPairs(-1), "NPairs l2 -1"),
        (lambda: TupletMargin(5.73), "TupletMargin margin 5.73: in radians"),
        (lambda: TupletMargin(scale=0), "TupletMargin scale 0"),
        (lambda: Angular(40), "Angular alpha 40: an angle in radians"),
    ],
)
def test_nonsense_is_refused_with_what_is_allowed(build, words):
    with pytest.raises(ValueError, match=words):
        build()
