"""Proxy-NCA, Proxy-NCA++ and the softmax losses against loops from the papers and pytorch-metric-learning."""

import math

import pytest
import torch
from pytorch_metric_learning import losses

from lookalike.losses import (
    NormalizedSoftmax,
    ProxyAnchor,
    ProxyNCA,
    ProxyNCApp,
    Softmax,
    SoftTriple,
    _fused_proxy,
)

CLASSES, DIM = 7, 5
KINDS = {
    "proxy_nca": lambda **sizes: ProxyNCA(**sizes, smoothing=0.1),
    "proxy_nca of the paper": lambda **sizes: ProxyNCA(**sizes, positive_in_sum=False),
    "proxy_nca_pp": ProxyNCApp,
    "normalized_softmax": NormalizedSoftmax,
    "proxy_anchor": ProxyAnchor,
    "soft_triple": lambda **sizes: SoftTriple(**sizes, centers=3),
    "one centre": lambda **sizes: SoftTriple(**sizes, centers=1),
    "softmax": lambda **sizes: Softmax(**sizes, smoothing=0.1),
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def batch(size=12, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES - 2, (size,), generator=generator)  # the last two are not in the batch
    return torch.randn(size, DIM, generator=generator, dtype=torch.float64).requires_grad_(), labels


def build(kind):
    torch.manual_seed(0)
    return KINDS[kind](num_classes=CLASSES, dim=DIM).double()


def distances(embeddings, proxies, embedding_scale=1.0, proxy_scale=1.0):
    """Squared distances [B, C] of scaled unit vectors, with a graph."""
    unit = torch.nn.functional.normalize
    x, p = embedding_scale * unit(embeddings), proxy_scale * unit(proxies)
    return torch.stack([(row - p).square().sum(dim=1) for row in x])


def assert_same(loss, embeddings, labels, expected, proxies=None):
    """Value and both gradients; `expected` may be a peer's, with its own proxies."""
    value = loss(embeddings, labels)
    torch.testing.assert_close(value, expected, rtol=1e-7, atol=1e-7)
    found = torch.autograd.grad(value, [embeddings, loss.proxies])
    wanted = torch.autograd.grad(expected, [embeddings, loss.proxies if proxies is None else proxies])
    torch.testing.assert_close(found[0], wanted[0], rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(found[1], wanted[1], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("positive_in_sum", [True, False])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("scales", [(1.0, 1.0), (1.0, 3.0), (2.0, 5.0)])
def test_proxy_nca_is_the_formula_of_the_paper(positive_in_sum, smoothing, scales):
    (embeddings, labels), losses_ = batch(), []
    loss = ProxyNCA(CLASSES, DIM, *scales, smoothing, positive_in_sum).double()
    for row, y in zip(distances(embeddings, loss.proxies, *scales), labels.tolist(), strict=True):
        summed = sum((-row[c]).exp() for c in range(CLASSES) if positive_in_sum or c != y)
        for c in range(CLASSES):
            target = 1 - smoothing if c == y else smoothing / (CLASSES - 1)
            losses_.append(-target * ((-row[c]).exp() / summed).log())
    assert_same(loss, embeddings, labels, sum(losses_) / len(labels))


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_proxy_nca_equals_pytorch_metric_learning(scale):
    embeddings, labels = batch()
    loss = ProxyNCA(CLASSES, DIM, 1.0, scale).double()
    peer = losses.ProxyNCALoss(CLASSES, DIM, softmax_scale=scale).double()
    peer.proxies.data.copy_(loss.proxies.data)
    assert_same(loss, embeddings, labels, peer(embeddings, labels), peer.proxies)


def test_proxy_nca_of_the_paper_can_fall_below_zero():
    embeddings = torch.eye(4)
    loss = ProxyNCA(4, 4, 1.0, 3.0, positive_in_sum=False)
    loss.proxies.data.copy_(embeddings)
    assert loss(embeddings, torch.arange(4)).item() == pytest.approx(math.log(3) - 6)


def test_proxy_nca_pp_is_the_formula_of_the_paper():
    embeddings, labels = batch()
    loss = ProxyNCApp(CLASSES, DIM, temperature=0.2).double()
    rows = zip(distances(embeddings, loss.proxies), labels.tolist(), strict=True)
    expected = [-((-row[y] / 0.2).exp() / (-row / 0.2).exp().sum()).log() for row, y in rows]
    assert_same(loss, embeddings, labels, sum(expected) / len(expected))


def test_normalized_softmax_is_the_formula_of_the_paper():
    embeddings, labels = batch()
    loss = NormalizedSoftmax(CLASSES, DIM, scale=12.0).double()
    cos = 1 - distances(embeddings, loss.proxies) / 2
    rows = zip(cos, labels.tolist(), strict=True)
    expected = [-((12 * row[y]).exp() / (12 * row).exp().sum()).log() for row, y in rows]
    assert_same(loss, embeddings, labels, sum(expected) / len(expected))


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("bias", [True, False])
def test_softmax_is_a_linear_layer_and_cross_entropy(smoothing, bias):
    embeddings, labels = batch()
    loss = Softmax(CLASSES, DIM, smoothing, bias).double()
    layer = torch.nn.Linear(DIM, CLASSES, bias=bias).double()
    layer.weight.data.copy_(loss.proxies.data)
    if bias:
        loss.bias.data.normal_()
        layer.bias.data.copy_(loss.bias.data)
    expected = torch.nn.functional.cross_entropy(layer(embeddings), labels, label_smoothing=smoothing)
    assert_same(loss, embeddings, labels, expected, layer.weight)


@every_kind
def test_gradients_of_all_parameters_are_the_derivative(kind):
    loss, (embeddings, labels) = build(kind), batch()
    names = [name for name, _ in loss.named_parameters()]

    def call(x, *values):
        return torch.func.functional_call(loss, dict(zip(names, values, strict=True)), (x, labels))

    assert torch.autograd.gradcheck(call, (embeddings, *loss.parameters()))


@every_kind
@pytest.mark.parametrize("frozen", ["embeddings", "proxies", "both"])
def test_what_is_frozen_gets_no_gradient_and_changes_no_other(kind, frozen):
    loss, (embeddings, labels) = build(kind), batch()
    value = loss(embeddings, labels)
    on_both = torch.autograd.grad(value, [embeddings, loss.proxies])
    embeddings.requires_grad_(frozen == "proxies")
    loss.requires_grad_(frozen == "embeddings")
    again = loss(embeddings, labels)
    assert again == value and again.requires_grad == (frozen != "both")
    if frozen != "both":
        kept = embeddings if frozen == "proxies" else loss.proxies
        torch.testing.assert_close(torch.autograd.grad(again, kept)[0], on_both[frozen == "embeddings"])


@every_kind
def test_the_way_back_can_be_gone_twice_and_with_a_weight(kind):
    loss, (embeddings, labels) = build(kind), batch()
    value = loss(embeddings, labels)
    first, second = (torch.autograd.grad(value, [embeddings, loss.proxies], retain_graph=True) for _ in "ab")
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    tripled = torch.autograd.grad(3 * value, [embeddings, loss.proxies])
    torch.testing.assert_close(tripled, tuple(3 * gradient for gradient in first))


@every_kind
def test_blocks_of_work_change_nothing(kind, monkeypatch):
    loss, (embeddings, labels) = build(kind), batch()
    value = loss(embeddings, labels)
    gradients = torch.autograd.grad(value, [embeddings, loss.proxies])
    monkeypatch.setitem(_fused_proxy.BLOCK, "cpu", 30)
    small = loss(embeddings, labels)
    torch.testing.assert_close(small, value)
    torch.testing.assert_close(torch.autograd.grad(small, [embeddings, loss.proxies]), gradients)


@every_kind
def test_proxies_get_the_same_gradient_under_autocast(kind):
    loss, (embeddings, labels) = build(kind).float(), batch()
    expected = torch.autograd.grad(loss(embeddings.float(), labels), [embeddings, loss.proxies])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = torch.autograd.grad(loss(embeddings.float(), labels), [embeddings, loss.proxies])
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


@every_kind
def test_single_precision_is_close_to_double(kind):
    loss, (embeddings, labels) = build(kind), batch(200)
    exact = loss(embeddings, labels)
    wanted = torch.autograd.grad(exact, [embeddings, loss.proxies])
    loss = loss.float()
    found = loss(embeddings.float(), labels)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=1e-6)
    for mine, theirs in zip(torch.autograd.grad(found, [embeddings, loss.proxies]), wanted, strict=True):
        torch.testing.assert_close(mine.double(), theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "proxy_nca of the paper"])
def test_one_class_alone_is_finite(kind):
    loss = KINDS[kind](num_classes=1, dim=DIM)
    embeddings = torch.randn(3, DIM, requires_grad=True)
    value = loss(embeddings, torch.zeros(3, dtype=torch.int64))
    value.backward()
    assert value.isfinite() and embeddings.grad.isfinite().all() and loss.proxies.grad.isfinite().all()


@every_kind
def test_zero_proxies_get_no_gradient_but_finite_ones_elsewhere(kind):
    if kind == "softmax":
        pytest.skip("reads lengths")
    loss, (embeddings, labels) = build(kind), batch()
    loss.proxies.data[:2] = 0
    loss(embeddings, labels).backward()
    assert loss.proxies.grad.isfinite().all() and embeddings.grad.isfinite().all()
    assert loss.proxies.grad[:2].abs().max() == 0


@pytest.mark.parametrize(
    ("kind", "argument", "value"),
    [
        (ProxyNCA, "embedding_scale", 0.0),
        (ProxyNCA, "proxy_scale", -1.0),
        (ProxyNCA, "smoothing", 1.0),
        (ProxyNCApp, "temperature", 0.0),
        (NormalizedSoftmax, "scale", 0.0),
        (ProxyAnchor, "alpha", 0.0),
        (Softmax, "smoothing", -0.1),
        (SoftTriple, "la", 0.0),
        (SoftTriple, "gamma", 0.0),
        (SoftTriple, "tau", -1.0),
    ],
)
def test_nonsense_values_are_refused_by_name(kind, argument, value):
    with pytest.raises(ValueError, match=f"{kind.__name__} {argument} {value}"):
        kind(CLASSES, DIM, **{argument: value})


def test_proxy_nca_of_the_paper_needs_two_classes():
    with pytest.raises(ValueError, match="positive_in_sum"):
        ProxyNCA(1, DIM, positive_in_sum=False)
