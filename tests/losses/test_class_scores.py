"""Class scores are those whose cross-entropy is the loss, where there is no margin."""

import pytest
import torch
import torch.nn.functional as F
from tests.contract.test_losses import TERMS, build
from torch import nn

from lookalike import losses
from lookalike.losses.class_scores import losses_with_scores
from lookalike.losses.modifiers import Terms
from lookalike.losses.sharded import divide_classes
from lookalike.training.sophia import WITH_SCORES

C, D = 5, 6
PLAIN = {
    "softmax": lambda: losses.Softmax(C, D),
    "normalized_softmax": lambda: losses.NormalizedSoftmax(C, D),
    "large_margin_softmax": lambda: losses.LargeMarginSoftmax(C, D, margin=1.0),
    "proxy_nca": lambda: losses.ProxyNCA(C, D),
    "proxy_nca_pp": lambda: losses.ProxyNCApp(C, D),
    "soft_triple": lambda: losses.SoftTriple(C, D, centers=3, margin=0.0, tau=0.0),
    "arcface": lambda: losses.ArcFace(C, D, margin=0.0),
    "sub_center_arcface": lambda: losses.SubCenterArcFace(C, D, margin=0.0, centers=3),
    "sphereface": lambda: losses.SphereFace(C, D, margin=1.0),
    "adacos": lambda: losses.AdaCos(C, D, dynamic=False),
}


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    return torch.randn(8, D, requires_grad=True), torch.arange(8) % C


@pytest.mark.parametrize("name", PLAIN)
def test_their_cross_entropy_is_the_loss(name):
    torch.manual_seed(0)
    loss, (embeddings, labels) = PLAIN[name](), batch()
    value, expected = loss(embeddings, labels), F.cross_entropy(loss.class_scores(embeddings), labels)
    torch.testing.assert_close(expected, value)
    held = [embeddings, *loss.parameters()]
    gradients = (torch.autograd.grad(each, held) for each in (expected, value))
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", TERMS)
def test_scores_that_a_loss_has_are_finite_and_change_nothing(name):
    loss = build(name, C, D)
    before = {key: torch.as_tensor(value).clone() for key, value in loss.state_dict().items()}
    found = list(losses_with_scores(loss))
    assert found or name not in WITH_SCORES
    for half in (torch.float32, torch.bfloat16):
        for scorer in found:
            scores = scorer.scores(batch()[0].to(half))
            assert scores.shape == (8, C)
            assert scores.dtype == torch.float32
            assert scores.isfinite().all()
    torch.testing.assert_close(dict(loss.state_dict()), before, rtol=0, atol=0)


def test_they_are_found_inside_with_their_weights():
    arcface, softmax, short = losses.ArcFace(C, D), losses.Softmax(C, D), losses.Softmax(C, 2)
    nested = losses.Matryoshka({2: short, D: softmax}, {2: 3.0, D: 1.0})
    whole = Terms({"a": (2.0, arcface), "m": (4.0, nested), "off": (0.0, losses.Softmax(C, D))})
    assert [(s.weight, s.dim) for s in losses_with_scores(whole)] == [(2.0, None), (3.0, 2), (1.0, D)]


@pytest.mark.parametrize(("rate", "count"), [(1.0, 1), (0.5, 0)])
def test_a_head_over_some_classes_has_none(rate, count):
    loss = Terms({"arcface": (1.0, losses.ArcFace(C, D))})
    divide_classes(loss, rate)
    assert len(list(losses_with_scores(loss))) == count


def test_others_have_none():
    for loss in (losses.UniFace(C, D), losses.Contrastive(), losses.ProxyAnchor(C, D), nn.Identity()):
        assert not list(losses_with_scores(loss))
