"""Statistics of margin losses: once a step, whatever writes the parameters."""

import pytest
import torch
from torch import nn

from lookalike import losses

CLASSES, DIM = 5, 8
FOLLOWING = {"adacos": losses.AdaCos, "adaface": losses.AdaFace, "curricularface": losses.CurricularFace}


class WritesData(torch.optim.Optimizer):
    """SGD as older third-party optimizers write it."""

    def __init__(self, params, lr):
        super().__init__(params, {"lr": lr})

    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.data.add_(parameter.grad.data, alpha=-group["lr"])


class ByHand:
    """SGD that is no torch optimizer."""

    def __init__(self, params, lr):
        self.params, self.lr = list(params), lr

    def zero_grad(self):
        for parameter in self.params:
            parameter.grad = None

    def step(self):
        for parameter in self.params:
            parameter.data = parameter.data - self.lr * parameter.grad


class Around:
    """What wraps an optimizer without being one, such as Lookahead."""

    def __init__(self, inner):
        self.inner, self.zero_grad = inner, inner.zero_grad

    def step(self):
        self.inner.step()


SGD = torch.optim.SGD
AS_SGD = {
    "foreach": lambda held: SGD(held, 0.1, foreach=True),
    "fused": lambda held: SGD(held, 0.1, fused=True),
    "p.data": lambda held: WritesData(held, 0.1),
    "by hand": lambda held: ByHand(held, 0.1),
    "wrapper": lambda held: Around(SGD(held, 0.1, fused=True)),
}


def batches(count, size=12):
    generator = torch.Generator().manual_seed(1)
    for _ in range(count):
        vectors = 10 * torch.randn(size, DIM, generator=generator)
        yield vectors, torch.randint(0, CLASSES, (size,), generator=generator)


def train_steps(name, make, steps=4, parts=1):
    """Statistics after each step, and the loss."""
    torch.manual_seed(0)
    loss, history = FOLLOWING[name](CLASSES, DIM), []
    optimizer = make(loss.parameters())
    for vectors, labels in batches(steps):
        optimizer.zero_grad()
        for part in range(parts):
            loss(vectors * (parts - part), labels).backward()
        optimizer.step()
        history.append(loss.running.now.clone())
    return torch.stack(history), loss


@pytest.mark.parametrize("writer", AS_SGD)
@pytest.mark.parametrize("name", FOLLOWING)
def test_statistics_do_not_depend_on_who_writes_the_parameters(name, writer):
    expected, reference = train_steps(name, lambda held: SGD(held, 0.1, foreach=False))
    found, loss = train_steps(name, AS_SGD[writer])
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(loss.proxies, reference.proxies)
    assert len(found.unique(dim=0)) == len(found)


@pytest.mark.parametrize("kind", ["Adam", "AdamW", "Adagrad"])
@pytest.mark.parametrize("name", FOLLOWING)
def test_fused_kernels_equal_plain_ones(name, kind):
    make = getattr(torch.optim, kind)
    expected, _ = train_steps(name, lambda held: make(held, lr=0.01, foreach=False))
    found, _ = train_steps(name, lambda held: make(held, lr=0.01, fused=True))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("kind", ["NAdam", "RAdam", "RMSprop", "Adamax", "Rprop", "ASGD", "Adadelta"])
@pytest.mark.parametrize("name", FOLLOWING)
def test_statistics_move_with_other_optimizers(name, kind):
    found, _ = train_steps(name, lambda held: getattr(torch.optim, kind)(held, lr=0.01, foreach=True))
    assert len(found.unique(dim=0)) == len(found)


@pytest.mark.parametrize("make", [lambda held: SGD(held, 0.1), lambda held: SGD(held, 0.1, fused=True)])
@pytest.mark.parametrize("name", FOLLOWING)
def test_accumulated_batches_are_one_step(name, make):
    """Several batches before a step: the last one counts, from the statistics before the step."""
    found, _ = train_steps(name, make, steps=1, parts=3)
    torch.manual_seed(0)
    loss = FOLLOWING[name](CLASSES, DIM)
    loss(*next(batches(1)))
    torch.testing.assert_close(found[0], loss.running.now)


@pytest.mark.parametrize("with_optimizer", [False, True])
@pytest.mark.parametrize("name", ["adaface", "curricularface"])
def test_frozen_proxies_do_not_stop_the_statistics(name, with_optimizer):
    torch.manual_seed(0)
    loss, net = FOLLOWING[name](CLASSES, DIM), nn.Linear(DIM, DIM)
    loss.proxies.requires_grad_(False)
    optimizer = SGD([*net.parameters(), *loss.parameters()], 0.1)
    start, history = loss.running.now.clone(), []
    for vectors, labels in batches(4):
        loss(net(vectors), labels).backward()
        if with_optimizer:
            optimizer.step()
        history.append(loss.running.now.clone())
    assert len(torch.stack([start, *history]).unique(dim=0)) == 5


def test_a_skipped_step_is_none():
    """Mixed precision skips a step whose gradients overflow; what that batch measured is forgotten."""
    loss, (first, second) = losses.AdaFace(CLASSES, DIM), batches(2)
    optimizer = torch.optim.AdamW(loss.parameters(), fused=True)
    start = loss.running.now.clone()
    loss(first[0] * 1e30, first[1]).backward()
    optimizer.found_inf = torch.tensor(1.0)  # what a GradScaler sets around the step of a fused optimizer
    optimizer.step()
    del optimizer.found_inf
    loss(*second)
    length = second[0].norm(dim=1).clamp(1e-3, 100)
    expected = start.lerp(torch.stack([length.mean(), length.std()]), loss.momentum)
    torch.testing.assert_close(loss.running.now, expected)


def test_evaluation_leaves_the_statistics_and_looking_twice_changes_nothing():
    loss, (first, second) = losses.AdaFace(CLASSES, DIM), batches(2)
    loss(*first)
    once = loss.running.now.clone()
    loss(*first)
    assert torch.equal(loss.running.now, once)
    loss.eval()(*second)
    assert torch.equal(loss.running.now, once)
