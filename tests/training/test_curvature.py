"""The estimate of the curvature has the Gauss-Newton diagonal as its mean, and leaves nothing behind."""

import itertools
import logging
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from lookalike.errors import ConfigError
from lookalike.losses import (
    ArcFace,
    Contrastive,
    KoLeo,
    Matryoshka,
    MultiSimilarity,
    NormalizedSoftmax,
    Softmax,
)
from lookalike.losses.class_scores import losses_with_scores
from lookalike.losses.modifiers import Terms
from lookalike.losses.sharded import divide_classes
from lookalike.training import sophia as sophia_module
from lookalike.training.sophia import Curvature, SampledLabelLoss, Sophia
from ranks import run_ranks

CLASSES, DIM, INPUTS = 3, 4, 5


def softmax(seed: int = 0, dim: int = DIM) -> Softmax:
    torch.manual_seed(seed)
    return Softmax(CLASSES, dim)


LOSSES = {
    "softmax": lambda: Terms({"softmax": (1.0, softmax())}),
    "weighted": lambda: Terms({"softmax": (3.0, softmax())}),
    "two": lambda: Terms({"a": (0.5, softmax(1)), "b": (2.0, NormalizedSoftmax(CLASSES, DIM, scale=3.0))}),
    "beside": lambda: Terms({"arcface": (1.0, ArcFace(CLASSES, DIM, scale=4.0)), "koleo": (0.1, KoLeo())}),
    "matryoshka": lambda: Terms(
        {"m": (1.0, Matryoshka({2: softmax(1, 2), 4: softmax(2)}, {2: 3.0, 4: 1.0}))}
    ),
}


class Net(nn.Module):
    def __init__(self, *extra: nn.Module):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(INPUTS, DIM), *extra)

    def forward(self, images):
        return self.layers(images)


def plain(scale: float = 1.0, processes: int = 1) -> SimpleNamespace:
    """As much of an accelerator as is asked for; gradients are multiplied by `scale` as fp16 does."""
    return SimpleNamespace(
        backward=lambda value: (value * scale).backward(),
        scaler=SimpleNamespace(get_scale=lambda: scale) if scale != 1 else None,
        num_processes=processes,
        gradient_accumulation_steps=1,
        no_sync=lambda module: nullcontext(),
    )


def gauss_newton(net: nn.Module, loss: Terms, images: torch.Tensor) -> list[torch.Tensor]:
    """The diagonal of `Σ weight · mean over images of Jᵀ (diag p - p pᵀ) J`, for parameters of both."""
    held = [*net.parameters(), *loss.parameters()]
    total = [torch.zeros_like(p) for p in held]
    for weight, dim, scores in losses_with_scores(loss):
        for row in scores(net(images)[:, :dim]):
            p = row.detach().softmax(dim=0)
            inner = torch.diag(p) - p[:, None] * p
            by_class = [
                torch.autograd.grad(each, held, retain_graph=True, allow_unused=True, materialize_grads=True)
                for each in row
            ]
            for place, jacobian in enumerate(zip(*by_class, strict=True)):
                flat = torch.stack(jacobian).flatten(1)
                diagonal = torch.einsum("ci,cd,di->i", flat, inner, flat) / len(images)
                total[place] += weight * diagonal.view_as(total[place])
    return total


@pytest.mark.parametrize("name", LOSSES)
def test_the_mean_over_all_draws_is_the_gauss_newton_diagonal(name, monkeypatch):
    torch.manual_seed(3)
    net, loss, images = Net().double(), LOSSES[name]().double(), torch.randn(2, INPUTS).double()
    held, drawn = [*net.parameters(), *loss.parameters()], SampledLabelLoss(loss)
    with torch.no_grad():
        chances = [s.scores(net(images)[:, : s.dim]).softmax(dim=1) for s in drawn.scorers]
    expected, sure = [torch.zeros_like(p) for p in held], 0.0
    one = list(itertools.product(range(CLASSES), repeat=2))
    for draws in itertools.product(one, repeat=len(chances)):
        chance = [
            p[row, label] for p, draw in zip(chances, draws, strict=True) for row, label in enumerate(draw)
        ]
        chance, coming = torch.stack(chance).prod(), iter(draws)
        monkeypatch.setattr(
            sophia_module, "_sample_labels", lambda scores, coming=coming: torch.tensor(next(coming))
        )
        found = torch.autograd.grad(drawn(net(images), torch.zeros(2)), held, allow_unused=True)
        for total, gradient in zip(expected, found, strict=True):
            if gradient is not None:
                total += chance * drawn.count * gradient.square()
        sure += chance
    assert sure == pytest.approx(1.0)
    torch.testing.assert_close(expected, gauss_newton(net, loss, images))


def test_labels_are_drawn_from_the_scores():
    scores = torch.tensor([[0.0, 1.0, -50.0]]).expand(20000, 3)
    shares = sophia_module._sample_labels(scores).bincount(minlength=3) / 20000
    torch.testing.assert_close(shares, scores[0].softmax(dim=0), atol=0.015, rtol=0)


def measure_curvature(net, loss, images, chunk=None, accelerator=None):
    torch.manual_seed(7)
    sophia = Sophia([{"params": [*net.parameters(), *loss.parameters()]}], betas=(0.9, 0.0))
    estimate = Curvature(sophia, loss, accelerator or plain())
    assert estimate.is_due
    estimate.measure(net, images, chunk)
    assert not estimate.is_due
    return [
        sophia.state[p]["curvature"] for p in (*net.parameters(), *loss.parameters()) if p in sophia.state
    ]


def test_the_estimate_is_the_same_in_chunks_and_under_a_scale():
    torch.manual_seed(3)
    net, loss, images = Net(), LOSSES["two"](), torch.randn(10, INPUTS)
    whole = measure_curvature(net, loss, images)
    assert all((each > 0).any() for each in whole)
    torch.testing.assert_close(measure_curvature(net, loss, images, chunk=3), whole, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(
        measure_curvature(net, loss, images, 4, plain(scale=1024.0)), whole, rtol=1e-4, atol=1e-7
    )


def test_a_batch_without_numbers_gives_no_estimate():
    net, loss, images = Net(), LOSSES["softmax"](), torch.full((4, INPUTS), float("nan"))
    sophia = Sophia([*net.parameters(), *loss.parameters()])
    estimate = Curvature(sophia, loss, plain())
    estimate.measure(net, images, None)
    assert estimate.is_due
    assert not sophia.state


@pytest.mark.parametrize("chunk", [None, 4])
def test_no_gradient_and_no_statistics_stay(chunk):
    torch.manual_seed(3)
    net, loss, images = Net(nn.BatchNorm1d(DIM)), LOSSES["softmax"](), torch.randn(10, INPUTS)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    measure_curvature(net, loss, images, chunk)
    assert all(p.grad is None for p in (*net.parameters(), *loss.parameters()))
    torch.testing.assert_close(net.state_dict(), before, rtol=0, atol=0)


def test_other_optimisers_never_ask():
    loss = Terms({"pairs": (1.0, MultiSimilarity())})
    estimate = Curvature(torch.optim.Adam([nn.Parameter(torch.ones(1))]), loss, plain())
    assert not estimate.is_due


def test_a_loss_without_scores_is_refused_and_one_beside_is_named(caplog):
    with pytest.raises(ConfigError, match=r"contrastive has none\. .* such as softmax, "):
        SampledLabelLoss(Terms({"contrastive": (1.0, Contrastive())}))
    with caplog.at_level(logging.WARNING):
        for make in (Sophia, torch.optim.Adam):
            Curvature(make([nn.Parameter(torch.ones(1))]), LOSSES["beside"](), plain())
    assert caplog.text.count("leaves out koleo") == 1


def test_a_head_that_sees_some_classes_is_refused():
    loss = Terms({"arcface": (1.0, ArcFace(20, DIM))})
    divide_classes(loss, rate=0.5)
    with pytest.raises(ConfigError, match="class_sample=1"):
        SampledLabelLoss(loss)


def work(rank: int, folder: Path) -> None:
    torch.manual_seed(rank)
    drawn = sophia_module._sample_labels(torch.zeros(50, CLASSES))
    sophia_module._sample_labels = lambda scores: torch.arange(len(scores)) % CLASSES
    torch.manual_seed(3)
    net, loss, images = Net(), LOSSES["two"](), torch.randn(10, INPUTS)
    found = measured_together(net, loss, images[rank::2])
    torch.save([drawn, *found], folder / f"{rank}.pt")


def measured_together(net, loss, images):
    wrapped = DistributedDataParallel(net)
    sophia = Sophia([{"params": [*net.parameters(), *loss.parameters()]}], betas=(0.9, 0.0))
    Curvature(sophia, loss, plain(processes=2)).measure(wrapped, images, None)
    return [sophia.state[p]["curvature"] for p in (*net.parameters(), *loss.parameters())]


@pytest.mark.slow
def test_two_processes_estimate_what_one_does(tmp_path, monkeypatch):
    run_ranks(work, tmp_path)
    monkeypatch.setattr(sophia_module, "_sample_labels", lambda scores: torch.arange(len(scores)) % CLASSES)
    torch.manual_seed(3)
    net, loss, images = Net(), LOSSES["two"](), torch.randn(10, INPUTS)
    expected = measure_curvature(net, loss, images)
    drawn = []
    for rank in range(2):
        labels, *theirs = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        torch.testing.assert_close(theirs, expected, rtol=1e-4, atol=1e-7)
        drawn.append(labels)
    assert torch.equal(*drawn)
