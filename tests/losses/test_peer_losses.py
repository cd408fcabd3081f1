"""Losses that pytorch-metric-learning has too, against it and against loops from the papers, in float64."""

import pytest
import torch
import torch.nn.functional as F
from pytorch_metric_learning import losses as peers

from lookalike import losses


def batch(sizes=(4, 4, 3, 1, 6), dim=8, seed=0, spread=0.7):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    centers = torch.randn(len(sizes), dim, generator=generator, dtype=torch.float64)
    noise = torch.randn(len(labels), dim, generator=generator, dtype=torch.float64)
    order = torch.randperm(len(labels), generator=generator)
    return (centers[labels] + spread * noise)[order].requires_grad_(), labels[order]


BATCHES = {
    "classes of several sizes": batch(),
    "equal classes": batch((4,) * 6, seed=1, spread=1.0),
    "well separated": batch((2, 2, 2), seed=2, spread=0.1),
    "no positives": batch((1,) * 5, seed=3),
    "one class": batch((5,), seed=4),
}


def assert_same(mine, expected, *inputs, tolerance=1e-8):
    """Values and gradients of both are equal; a constant has the gradient zero."""
    torch.testing.assert_close(
        mine, torch.as_tensor(expected, dtype=mine.dtype), rtol=tolerance, atol=tolerance
    )
    found = torch.autograd.grad(mine, inputs)
    if not (isinstance(expected, torch.Tensor) and expected.requires_grad):
        assert all(not gradient.any() for gradient in found)
        return
    wanted = torch.autograd.grad(expected, inputs, allow_unused=True)
    for gradient, other in zip(found, wanted, strict=True):
        other = torch.zeros_like(gradient) if other is None else other
        torch.testing.assert_close(gradient, other, rtol=tolerance, atol=tolerance)


PAIRS = {
    "intra_pair_variance": (losses.IntraPairVariance(0.02, 0.03), peers.IntraPairVarianceLoss(0.02, 0.03)),
    "threshold_consistent_margin": (
        losses.ThresholdConsistentMargin(0.8, 0.3, 0.5, 2.0),
        peers.ThresholdConsistentMarginLoss(0.5, 2.0, 0.8, 0.3),
    ),
    "lifted_structure_original": (losses.LiftedStructureOriginal(1.3), peers.LiftedStructureLoss(1.5, 0.2)),
}


@pytest.mark.parametrize("name", PAIRS)
def test_pair_losses_equal_pytorch_metric_learning(name):
    loss, peer = PAIRS[name]
    for embeddings, labels in BATCHES.values():
        assert_same(loss(embeddings, labels), peer(embeddings, labels), embeddings)


def cosines(embeddings):
    unit = F.normalize(embeddings)
    return unit @ unit.T


def anchors(labels):
    """Each row with its positives and negatives, as lists."""
    for a, y in enumerate(labels.tolist()):
        same = [i for i, other in enumerate(labels.tolist()) if other == y and i != a]
        yield a, same, [i for i, other in enumerate(labels.tolist()) if other != y]


def test_binomial_deviance_is_the_formula():
    embeddings, labels = batch()
    s = cosines(embeddings)
    pull = torch.cat([torch.log(1 + torch.exp(-3 * (s[a, same] - 0.4))) for a, same, _ in anchors(labels)])
    push = torch.cat([torch.log(1 + torch.exp(30 * (s[a, other] - 0.4))) for a, _, other in anchors(labels)])
    expected = pull.mean() + push.mean()
    assert_same(losses.BinomialDeviance(3.0, 0.4, 10.0)(embeddings, labels), expected, embeddings)


PENALTIES = {
    "O": lambda r: r,
    "Iu": lambda r: (1 + r) * (1 + r).log(),
    "Ib": lambda r: (3 * r - (1 + 3 * r).log()) / 9,
    "Ds": lambda r: (1 + r).log(),
    "Dq": lambda r: 1 - 1 / (1 + r) ** 1.5,
}


@pytest.mark.parametrize("variant", PENALTIES)
def test_pnp_is_the_paper_and_with_the_anchor_as_a_positive_the_peer(variant):
    loss = losses.PNP(variant, alpha=1.5, b=3.0, temperature=0.05)
    peer = peers.PNPLoss(b=3, alpha=1.5, anneal=0.05, variant=variant)
    for embeddings, labels in BATCHES.values():
        s, terms = cosines(embeddings), []
        for a, same, other in anchors(labels):
            ahead = [torch.sigmoid((s[a, other] - s[a, p]) / 0.05).sum() for p in same if other]
            if ahead:
                terms.append(sum(map(PENALTIES[variant], ahead)) / len(ahead))
        assert_same(loss(embeddings, labels), sum(terms) / max(1, len(terms)), embeddings)
        same = labels[:, None] == labels
        same &= same.sum(dim=1, keepdim=True) > 1
        with_anchor = loss.pairs(losses.cosine(embeddings, embeddings), same, labels[:, None] != labels)
        if not same.all():  # where nothing is negative the peer still counts rounding errors
            assert_same(with_anchor, peer(embeddings, labels), embeddings)


def test_p2s_grad_equals_pytorch_metric_learning_on_proxies_of_length_one():
    embeddings, labels = batch()
    loss, peer = losses.P2SGrad(5, 8).double(), peers.P2SGradLoss(8, 5)
    peer.weight.data = F.normalize(loss.proxies.detach()).T.clone()
    assert_same(loss(embeddings, labels), peer(embeddings, labels), embeddings, tolerance=1e-5)
    unit = F.normalize(embeddings) @ F.normalize(loss.proxies).T
    assert_same(
        loss(embeddings, labels), F.mse_loss(unit, torch.eye(5).double()[labels]), embeddings, loss.proxies
    )


def test_proxy_circle_equals_pytorch_metric_learning_with_the_proxies_as_references():
    loss, peer = losses.ProxyCircle(5, 8, margin=0.3, scale=30.0).double(), peers.CircleLoss(0.3, 30)
    for seed in range(3):
        embeddings, labels = batch(seed=seed)
        expected = peer(embeddings, labels, ref_emb=loss.proxies, ref_labels=torch.arange(5))
        assert_same(loss(embeddings, labels), expected, embeddings, loss.proxies)


@pytest.mark.parametrize("t", [1.0, 3.0])
def test_sphereface2_is_the_formula(t):
    embeddings, labels = batch()
    loss = losses.SphereFace2(5, 8, margin=0.2, scale=10.0, balance=0.6, t=t).double()
    s = F.normalize(embeddings) @ F.normalize(loss.proxies).T
    g = 2 * ((s + 1) / 2) ** t - 1
    terms = []
    for i, y in enumerate(labels.tolist()):
        own = 0.6 / 10 * torch.log(1 + torch.exp(-10 * (g[i, y] - 0.2) - loss.bias))
        rest = [torch.log(1 + torch.exp(10 * (g[i, c] + 0.2) + loss.bias)) for c in range(5) if c != y]
        terms.append(own + 0.4 / 10 * sum(rest))
    assert_same(loss(embeddings, labels), sum(terms) / len(terms), embeddings, loss.proxies, loss.bias)


@pytest.mark.parametrize("margin", [1, 3, 4])
def test_large_margin_softmax_equals_pytorch_metric_learning(margin):
    loss, peer = losses.LargeMarginSoftmax(5, 8, margin).double(), peers.LargeMarginSoftmaxLoss(5, 8, margin)
    peer.W.data = loss.proxies.detach().T.clone()
    for seed in range(3):
        embeddings, labels = batch(seed=seed)
        assert_same(loss(embeddings, labels), peer(embeddings, labels), embeddings)
        (gradient,) = torch.autograd.grad(loss(embeddings, labels), loss.proxies)
        (wanted,) = torch.autograd.grad(peer(embeddings, labels), peer.W)
        torch.testing.assert_close(gradient, wanted.T, rtol=1e-8, atol=1e-8)


def test_instance_is_the_formula_and_for_classes_of_one_image_the_peer():
    loss, peer = losses.Instance(10.0), peers.InstanceLoss(10.0)
    embeddings, labels = batch()
    s = cosines(embeddings)
    terms = [(1 + (10 * (s[a, other] - 1)).exp().sum()).log() for a, _, other in anchors(labels)]
    assert_same(loss(embeddings, labels), sum(terms) / len(terms), embeddings)
    apart = torch.arange(len(labels))
    assert_same(loss(embeddings, apart), peer(embeddings, apart), embeddings)


def test_vicreg_equals_pytorch_metric_learning_on_two_orders_of_one_matrix():
    for seed in range(3):
        embeddings, _ = batch((2,) * 6, seed=seed)
        labels = torch.arange(6).repeat_interleave(2)
        other = torch.arange(12) ^ 1
        expected = peers.VICRegLoss(7, 5, 1.5, eps=1e-3)(embeddings, ref_emb=embeddings[other])
        assert_same(losses.VICReg(7, 5, 3.0, 1e-3)(embeddings, labels), expected, embeddings)


def test_vicreg_is_the_formula_for_classes_of_several_sizes():
    embeddings, labels = batch()
    pairs = [(embeddings[a] - embeddings[p]).square().mean() for a, same, _ in anchors(labels) for p in same]
    covariance = embeddings.T.cov()
    spread = (1 - (covariance.diagonal() + 1e-4).sqrt()).relu().mean()
    correlation = covariance[~torch.eye(8, dtype=torch.bool)].square().sum() / 8
    expected = 25 * sum(pairs) / len(pairs) + 25 * spread + 2 * correlation
    assert_same(losses.VICReg()(embeddings, labels), expected, embeddings)
    unknown = labels.masked_fill(labels == 1, -1)
    expected = losses.VICReg()(embeddings[labels != 1], labels[labels != 1])
    assert_same(losses.VICReg()(embeddings, unknown), expected, embeddings)


class FixedWeights(peers.DynamicSoftMarginLoss):
    """The peer without the gradient of its histogram."""

    def update_histogram(self, data):
        super().update_histogram(data.detach())


def test_dynamic_soft_margin_equals_pytorch_metric_learning_without_the_gradient_of_the_histogram():
    loss, peer = losses.DynamicSoftMargin(momentum=1.0).double(), FixedWeights(momentum=1.0)
    for seed in range(3):
        embeddings, labels = batch(seed=seed)
        assert_same(loss(embeddings, labels), peer(embeddings, labels), embeddings)


def test_the_histogram_of_dynamic_soft_margin_follows_the_batches():
    loss, second = losses.DynamicSoftMargin(momentum=0.25).double(), losses.DynamicSoftMargin().double()
    loss(*batch(seed=0))
    first = loss.histogram.now.clone()
    loss(*batch(seed=1))
    second(*batch(seed=1))
    torch.testing.assert_close(loss.histogram.now, first.lerp(second.histogram.now, 0.25))
    opposite = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [1.0, 0.0]], requires_grad=True)
    assert losses.DynamicSoftMargin()(opposite, torch.tensor([0, 0, 1])).isfinite()  # a difference of 2


def test_manifold_equals_pytorch_metric_learning_with_given_classes():
    loss, peer = losses.Manifold(5, 8, 0.7, 0.01, 0.5).double(), peers.ManifoldLoss(8, 5, 0.5, 0.7, 0.01)
    peer.proxies = loss.proxies
    for seed in range(3):
        embeddings, labels = batch(seed=seed)
        expected = peer(embeddings, indices_tuple=labels)
        assert_same(loss(embeddings, labels), expected, embeddings, loss.proxies, tolerance=1e-5)


@pytest.mark.parametrize("num_classes", [1, 2, 5, 10_000])
def test_the_bias_of_sphereface2_starts_in_balance(num_classes):
    """At right angles to all proxies the loss does not change with the bias, if there are other classes."""
    loss = losses.SphereFace2(num_classes, 4).double()
    cos = torch.zeros(3, num_classes, dtype=torch.float64)
    value = loss.classes(cos, torch.zeros(3, dtype=torch.int64))
    assert value.isfinite()
    if num_classes > 1:
        (gradient,) = torch.autograd.grad(value, loss.bias)
        assert abs(gradient.item()) < 1e-6


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: losses.PNP("Dx"), "PNP variant 'Dx': variant must be one of O, Iu, Ib, Ds, Dq"),
        (lambda: losses.PNP(temperature=0), "PNP temperature 0: temperature must be above 0"),
        (lambda: losses.BinomialDeviance(alpha=0), "BinomialDeviance alpha 0"),
        (lambda: losses.LiftedStructureOriginal(scale=0), "LiftedStructureOriginal scale 0"),
        (lambda: losses.ThresholdConsistentMargin(positive_weight=-1), "positive_weight -1: .* at least 0"),
        (lambda: losses.LargeMarginSoftmax(3, 4, 0.5), "LargeMarginSoftmax margin 0.5"),
        (lambda: losses.DynamicSoftMargin(bins=0), "DynamicSoftMargin bins 0"),
        (lambda: losses.DynamicSoftMargin(momentum=0), "DynamicSoftMargin momentum 0"),
        (lambda: losses.Manifold(3, 4, alpha=1.0), "Manifold alpha 1.0"),
        (lambda: losses.Instance(0), "Instance scale 0"),
        (lambda: losses.VICReg(variance=-1), "VICReg variance -1: variance must be at least 0"),
        (lambda: losses.ProxyCircle(3, 4, scale=0), "ProxyCircle scale 0"),
        (lambda: losses.SphereFace2(3, 4, balance=1.0), "SphereFace2 balance 1.0"),
    ],
)
def test_values_out_of_range_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()
