"""Sophia-G is algorithm 3 of its paper, number by number, and minds curvature."""

import copy

import pytest
import torch
from torch import nn

from lookalike.training.checkpoint import read_state, write_state
from lookalike.training.sophia import Sophia

SHAPES = [(3, 4), (5,)]


def parameters(dtype=torch.float64) -> list[nn.Parameter]:
    torch.manual_seed(0)
    return [nn.Parameter(torch.randn(shape, dtype=dtype)) for shape in SHAPES]


def give(held: list[nn.Parameter], seed: int) -> None:
    torch.manual_seed(seed)
    for parameter in held:
        parameter.grad = torch.randn(parameter.shape, dtype=torch.float64).to(parameter.dtype)


def by_the_paper(start, gradients, estimates, lr, betas, rho, decay, eps, count):
    """Algorithm 3 for one number; `estimates` has the gradient of drawn labels by step."""
    theta, m, h = start, 0.0, 0.0
    for step, gradient in enumerate(gradients):
        m = betas[0] * m + (1 - betas[0]) * gradient
        if step in estimates:
            h = betas[1] * h + (1 - betas[1]) * count * estimates[step] ** 2
        theta = theta - lr * decay * theta
        theta = theta - lr * max(-1.0, min(1.0, m / max(rho * h, eps)))
    return theta


def test_steps_are_those_of_a_plain_loop():
    values = {"lr": 0.05, "betas": (0.9, 0.7), "rho": 0.5, "eps": 1e-3}
    held, count, steps = parameters(), 12, 9
    optimizer = Sophia(held, weight_decay=0.2, every=4, **values)
    start, gradients, estimates, due = [p.detach().clone() for p in held], [], {}, []
    for step in range(steps):
        if optimizer.is_due:
            due.append(step)
            give(held, 100 + step)
            estimates[step] = [p.grad / 8 for p in held]
            assert optimizer.update_curvature(count, scale=8.0)
        give(held, step)
        gradients.append([p.grad for p in held])
        optimizer.step()
    assert due == [0, 4, 8]
    for place, parameter in enumerate(held):
        expected = [
            by_the_paper(
                start[place].flatten()[i].item(),
                [g[place].flatten()[i].item() for g in gradients],
                {step: e[place].flatten()[i].item() for step, e in estimates.items()},
                decay=0.2,
                count=count,
                **values,
            )
            for i in range(parameter.numel())
        ]
        torch.testing.assert_close(parameter.detach().flatten(), torch.tensor(expected, dtype=torch.float64))


def test_no_number_moves_further_than_the_rate_and_unknown_curvature_moves_by_it():
    (held, _) = parameters()
    before = held.detach().clone()
    optimizer = Sophia([held], lr=0.01, weight_decay=0.0)
    give([held], 1)
    optimizer.step()
    torch.testing.assert_close((held - before).abs(), torch.full_like(before, 0.01))
    torch.testing.assert_close((held - before).sign(), -held.grad.sign())


def test_parameters_without_a_gradient_stay():
    held = parameters()
    optimizer = Sophia(held, lr=0.1, weight_decay=0.5)
    held[0].grad = torch.ones_like(held[0])
    before = held[1].detach().clone()
    optimizer.update_curvature(1)
    optimizer.step()
    assert torch.equal(held[1], before)


@pytest.mark.parametrize("bad", [float("inf"), float("nan")])
def test_an_estimate_that_is_no_number_is_left_out_and_asked_for_again(bad):
    held = parameters()
    optimizer = Sophia(held)
    give(held, 0)
    held[1].grad[0] = bad
    assert not optimizer.update_curvature(4)
    assert optimizer.is_due
    give(held, 0)
    optimizer.step()
    assert optimizer.is_due
    assert all((optimizer.state[p]["curvature"] == 0).all() for p in held)


def far_after(make, curvature, steps=300) -> float:
    """How far from the minimum of `½ Σ a x²` an optimiser ends that starts at ones; infinity if it leaves."""
    x = nn.Parameter(torch.ones_like(curvature))
    optimizer = make([x])
    for _ in range(steps):
        if getattr(optimizer, "due", False):
            x.grad = curvature.sqrt()
            optimizer.update_curvature(1)
        x.grad = curvature * x.detach()
        optimizer.step()
    length = x.detach().norm()
    return float(length) if torch.isfinite(length) else float("inf")


def test_an_ill_conditioned_valley_is_no_obstacle():
    curvature = torch.logspace(0, 4, 20, dtype=torch.float64)
    sophia = far_after(lambda p: Sophia(p, lr=0.02, weight_decay=0.0, betas=(0.9, 0.99)), curvature)
    rates = [10.0**power for power in range(-6, 1)]
    sgd = min(
        far_after(lambda p, rate=rate, m=m: torch.optim.SGD(p, lr=rate, momentum=m), curvature)
        for rate in rates
        for m in (0.0, 0.9)
    )
    assert sgd > 0.3
    assert sophia < 0.01 * sgd


def test_a_run_can_be_stopped_and_continued(tmp_path):
    def advance(optimizer, held, steps):
        for step in steps:
            if optimizer.is_due:
                give(held, 50 + step)
                optimizer.update_curvature(3)
            give(held, step)
            optimizer.step()

    whole, first = parameters(torch.float32), parameters(torch.float32)
    advance(Sophia([{"params": whole, "lr": 0.1}], every=3), whole, range(8))
    stopped = Sophia([{"params": first, "lr": 0.1}], every=3)
    advance(stopped, first, range(5))
    write_state(tmp_path, stopped.state_dict())
    second = [nn.Parameter(p.detach().clone()) for p in first]
    resumed = Sophia([{"params": second, "lr": 0.7}], every=3)
    resumed.load_state_dict(read_state(tmp_path))
    advance(resumed, second, range(5, 8))
    torch.testing.assert_close(second, whole, rtol=0, atol=0)
    assert copy.deepcopy(resumed).state_dict()["param_groups"][0]["age"] == 2


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"rho": 0.0}, "rho 0.0: above 0"),
        ({"betas": (1.0, 0.9)}, "betas"),
        ({"eps": 0.0}, "eps"),
        ({"every": 0}, "every 0: at least 1"),
        ({"weight_decay": -1.0}, "weight_decay"),
        ({"lr": -1.0}, "lr"),
    ],
)
def test_wrong_values_are_refused(values, words):
    with pytest.raises(ValueError, match=f"Sophia {words}"):
        Sophia(parameters(), **values)
