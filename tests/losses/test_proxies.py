"""Losses with proxies against loops from the papers and pytorch-metric-learning, and their start."""

import math

import pytest
import torch
from pytorch_metric_learning import losses

from lookalike.losses import ArcFace, NormalizedSoftmax, ProxyAnchor, cosine

CLASSES, DIM = 7, 16


def batch(size=24, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(
        CLASSES - 2, (size,), generator=generator
    )  # the last two classes are not in the batch
    return torch.randn(size, DIM, generator=generator, dtype=torch.float64).requires_grad_(), labels


def cosines(loss, embeddings):
    unit = torch.nn.functional.normalize
    return (unit(embeddings.detach()) @ unit(loss.proxies.detach()).T).tolist()


def assert_same(mine, peer, proxies, embeddings, labels):
    """Value and both gradients, with the peer's proxies [C, D] (or their transpose) set to mine."""
    with torch.no_grad():
        proxies.copy_(mine.proxies if proxies.shape == mine.proxies.shape else mine.proxies.T)
    value, expected = mine(embeddings, labels), peer(embeddings, labels)
    torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-5)
    found = torch.autograd.grad(value, [embeddings, mine.proxies])
    wanted = torch.autograd.grad(expected, [embeddings, proxies])
    torch.testing.assert_close(found[0], wanted[0], rtol=1e-5, atol=1e-5)
    wanted_proxies = wanted[1] if wanted[1].shape == found[1].shape else wanted[1].T
    torch.testing.assert_close(found[1], wanted_proxies, rtol=1e-5, atol=1e-5)


def test_proxy_anchor_is_the_formula_of_the_paper():
    embeddings, labels = batch()
    loss = ProxyAnchor(CLASSES, DIM, alpha=16, margin=0.2).double()
    cos, classes = cosines(loss, embeddings), labels.tolist()
    pull = [
        math.log1p(sum(math.exp(-16 * (row[c] - 0.2)) for row, y in zip(cos, classes, strict=True) if y == c))
        for c in sorted(set(classes))
    ]
    push = [
        math.log1p(sum(math.exp(16 * (row[c] + 0.2)) for row, y in zip(cos, classes, strict=True) if y != c))
        for c in range(CLASSES)
    ]
    expected = sum(pull) / len(pull) + sum(push) / CLASSES
    assert loss(embeddings, labels).item() == pytest.approx(expected)


def test_proxy_anchor_equals_pytorch_metric_learning():
    embeddings, labels = batch()
    mine, peer = ProxyAnchor(CLASSES, DIM).double(), losses.ProxyAnchorLoss(CLASSES, DIM).double()
    assert_same(mine, peer, peer.proxies, embeddings, labels)


def test_normalized_softmax_equals_pytorch_metric_learning():
    embeddings, labels = batch()
    mine = NormalizedSoftmax(CLASSES, DIM, scale=20).double()
    peer = losses.NormalizedSoftmaxLoss(CLASSES, DIM, temperature=1 / 20).double()
    assert_same(mine, peer, peer.W, embeddings, labels)


@pytest.mark.parametrize("margin", [0.0, 0.5, 1.2])
def test_arcface_is_the_formula_of_the_paper(margin):
    embeddings, labels = batch()
    loss = ArcFace(CLASSES, DIM, margin, scale=10).double()
    values = []
    for row, y in zip(cosines(loss, embeddings), labels.tolist(), strict=True):
        angle = math.acos(row[y])
        target = math.cos(angle + margin) if angle < math.pi - margin else row[y] - margin * math.sin(margin)
        logits = [10 * (target if c == y else s) for c, s in enumerate(row)]
        values.append(math.log(sum(math.exp(z) for z in logits)) - logits[y])
    assert loss(embeddings, labels).item() == pytest.approx(sum(values) / len(values))


def test_arcface_equals_pytorch_metric_learning():
    embeddings, labels = batch()
    mine = ArcFace(CLASSES, DIM, margin=0.5, scale=30).double()
    peer = losses.ArcFaceLoss(CLASSES, DIM, margin=math.degrees(0.5), scale=30).double()
    assert_same(mine, peer, peer.W, embeddings, labels)


def test_arcface_gradient_is_that_of_the_angle_away_from_the_ends():
    loss = ArcFace(CLASSES, DIM).double()
    cos = torch.linspace(-0.87, 0.999, 50, dtype=torch.float64, requires_grad=True)  # angles up to π - 0.5
    found = torch.autograd.grad(loss.with_margin(cos).sum(), cos)[0]
    angle = cos.detach().acos()
    torch.testing.assert_close(found, (angle + 0.5).sin() / angle.sin())


def test_arcface_tail_keeps_falling_and_is_finite_at_the_ends():
    loss = ArcFace(CLASSES, DIM)
    cos = torch.linspace(-1.0, 1.0, 2001, requires_grad=True)
    values = loss.with_margin(cos)
    assert (values.diff() > 0).all()
    assert torch.autograd.grad(values.sum(), cos)[0].isfinite().all()


def test_arcface_refuses_a_margin_in_degrees():
    with pytest.raises(ValueError, match="radians"):
        ArcFace(CLASSES, DIM, margin=28.6)


@pytest.mark.parametrize("kind", [ProxyAnchor, ArcFace, NormalizedSoftmax])
@pytest.mark.parametrize("num_classes", [20, 400])
def test_proxies_do_not_collapse_at_the_usual_rate(kind, num_classes):
    """Features with a strong common direction, as pretrained networks give them, and AdamW at 1e-2."""
    torch.manual_seed(0)
    centers = torch.randn(num_classes, 64)
    common = 4 * torch.randn(64)
    labels = torch.arange(num_classes).repeat(4)
    features = common + centers[labels] + 0.5 * torch.randn(len(labels), 64)
    head, loss = torch.nn.Linear(64, 32), kind(num_classes, 32)
    optimizer = torch.optim.AdamW(
        [{"params": head.parameters(), "lr": 1e-3}, {"params": loss.parameters(), "lr": 1e-2}]
    )
    start = loss(head(features), labels).item()
    for step in range(150):
        rows = torch.randperm(len(labels), generator=torch.Generator().manual_seed(step))[:64]
        optimizer.zero_grad()
        loss(head(features[rows]), labels[rows]).backward()
        optimizer.step()
    assert loss(head(features), labels).item() < 0.9 * start
    assert torch.nn.functional.normalize(loss.proxies.detach()).mean(dim=0).norm() < 0.6
    sim = cosine(head(features), head(features)).detach().fill_diagonal_(-2)
    assert (labels[sim.argmax(dim=1)] == labels).float().mean() > 0.95


@pytest.mark.parametrize("argument", ["num_classes", "dim"])
def test_sizes_below_one_are_refused(argument):
    sizes = {"num_classes": 3, "dim": 4, argument: 0}
    with pytest.raises(ValueError, match=f"ProxyAnchor {argument} 0"):
        ProxyAnchor(**sizes)


def test_embeddings_of_another_length_are_refused():
    embeddings, labels = batch()
    with pytest.raises(ValueError, match=f"dimension 4, got {DIM}"):
        ProxyAnchor(CLASSES, 4)(embeddings, labels)
