"""Sparse gradients beside ordinary ones: steps, clipping, state, Accelerate."""

import copy

import pytest
import timm.optim
import torch
from accelerate import Accelerator
from torch import nn

from lookalike.training.optimise import RowSparse, clip_gradients
from lookalike.training.sophia import Sophia

ROWS, DIM = 9, 4


def parameters() -> list[nn.Parameter]:
    torch.manual_seed(0)
    return [nn.Parameter(torch.randn(3, 2)), nn.Parameter(torch.randn(ROWS, DIM))]


def sparse(rows: list[int], values: torch.Tensor) -> torch.Tensor:
    return torch.sparse_coo_tensor(torch.tensor([rows]), values, (ROWS, DIM), check_invariants=True)


def give_gradients(pair: list[nn.Parameter], step: int, in_rows: bool = True, size: int = 4) -> None:
    """A gradient for each, of the second only for some rows (a dense one has zeros elsewhere)."""
    torch.manual_seed(step)
    dense, table = pair
    dense.grad = torch.randn_like(dense)
    gradient = sparse(torch.randperm(ROWS)[:size].tolist(), torch.randn(size, DIM))
    table.grad = gradient if in_rows else gradient.to_dense()


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.5, 0.9)])
def test_steps_of_adam_are_those_of_sparse_adam(betas):
    mine, theirs = parameters(), parameters()
    first = RowSparse(torch.optim.Adam([{"params": mine, "lr": 0.1}], betas=betas))
    second = [
        torch.optim.Adam([theirs[0]], 0.1, betas),
        torch.optim.SparseAdam([theirs[1]], lr=0.1, betas=betas),
    ]
    for step in range(5):
        give_gradients(mine, step)
        give_gradients(theirs, step)
        first.step()
        [optimizer.step() for optimizer in second]
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize(
    "make",
    [
        lambda groups: torch.optim.AdamW(groups, weight_decay=0.1, amsgrad=True),
        lambda groups: torch.optim.SGD(groups, momentum=0.9, nesterov=True, weight_decay=0.1),
        lambda groups: torch.optim.SGD(groups),
        torch.optim.Adam,
        torch.optim.RAdam,
        lambda groups: torch.optim.RAdam(groups, weight_decay=0.1, decoupled_weight_decay=True),
        lambda groups: timm.optim.Lion(groups, weight_decay=0.1),
        lambda groups: Sophia(groups, weight_decay=0.1),
        torch.optim.Adagrad,
        torch.optim.RMSprop,
        torch.optim.NAdam,
    ],
)
def test_a_sparse_gradient_that_names_every_row_steps_like_a_dense_one(make, monkeypatch):
    monkeypatch.setattr("lookalike.training.optimise.BLOCK", 2 * DIM)
    mine, theirs = parameters(), parameters()
    first, second = RowSparse(make([{"params": mine, "lr": 0.1}])), make([{"params": theirs, "lr": 0.1}])
    for step in range(4):
        give_gradients(mine, step, size=ROWS)
        give_gradients(theirs, step, in_rows=False, size=ROWS)
        first.step()
        second.step()
    torch.testing.assert_close(mine, theirs)


def test_rows_without_a_gradient_stay_and_so_does_their_state():
    pair = parameters()
    optimizer = RowSparse(torch.optim.AdamW([{"params": pair}], lr=0.1))
    give_gradients(pair, 0, size=ROWS)
    optimizer.step()
    before, state = pair[1].detach().clone(), copy.deepcopy(dict(optimizer.state[pair[1]]))
    give_gradients(pair, 1)
    rows = pair[1].grad.coalesce().indices()[0]
    others = [row for row in range(ROWS) if row not in rows.tolist()]
    optimizer.step()
    assert torch.equal(pair[1][others], before[others])
    assert (pair[1][rows] != before[rows]).all()
    for name in ("exp_avg", "exp_avg_sq"):
        assert torch.equal(optimizer.state[pair[1]][name][others], state[name][others])


def test_rows_named_twice_are_added_up():
    mine, theirs = parameters(), parameters()
    first, second = (RowSparse(torch.optim.SGD([{"params": each}], lr=1.0)) for each in (mine, theirs))
    mine[1].grad = sparse([3, 1, 3], torch.ones(3, DIM))
    once = torch.tensor([1.0, 2.0])[:, None].expand(2, DIM)
    theirs[1].grad = sparse([1, 3], once)
    first.step()
    second.step()
    assert torch.equal(mine[1], theirs[1])


def test_state_can_be_saved_and_training_continued():
    whole, first = parameters(), parameters()
    one = RowSparse(torch.optim.AdamW([{"params": whole, "lr": 0.1}]))
    two = RowSparse(torch.optim.AdamW([{"params": first, "lr": 0.1}]))
    for step in range(4):
        give_gradients(whole, step)
        one.step()
    for step in range(2):
        give_gradients(first, step)
        two.step()
    second = [nn.Parameter(each.detach().clone()) for each in first]
    three = RowSparse(torch.optim.AdamW([{"params": second, "lr": 0.5}]))
    three.load_state_dict(copy.deepcopy(two.state_dict()))
    assert three.param_groups[0]["lr"] == 0.1
    for step in range(2, 4):
        give_gradients(second, step)
        three.step()
    torch.testing.assert_close(second, whole, rtol=0, atol=0)


@pytest.mark.parametrize("longest", [0.1, 100.0])
def test_clipping_counts_sparse_gradients(longest):
    mine, theirs = parameters(), parameters()
    give_gradients(mine, 0)
    give_gradients(theirs, 0, in_rows=False)
    length = clip_gradients(mine, longest)
    torch.testing.assert_close(length, nn.utils.clip_grad_norm_(theirs, longest))
    torch.testing.assert_close(mine[0].grad, theirs[0].grad)
    torch.testing.assert_close(mine[1].grad.to_dense(), theirs[1].grad)


def test_accelerate_steps_and_changes_rates():
    mine, theirs = parameters(), parameters()
    accelerator = Accelerator(cpu=True)
    first = RowSparse(torch.optim.AdamW([{"params": mine, "lr": 0.1}]))
    optimizer = accelerator.prepare(first)
    second = RowSparse(torch.optim.AdamW([{"params": theirs, "lr": 0.1}]))
    for step, rate in enumerate([0.1, 0.05]):
        optimizer.param_groups[0]["lr"] = second.param_groups[0]["lr"] = rate
        give_gradients(mine, step)
        give_gradients(theirs, step)
        optimizer.step()
        second.step()
        optimizer.zero_grad()
    assert all(parameter.grad is None for parameter in mine)
    torch.testing.assert_close(mine, theirs, rtol=0, atol=0)


def test_fp16_gradients_are_unscaled_and_infinite_ones_skipped():
    mine, theirs = parameters(), parameters()
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    scaler.scale(torch.zeros(()))
    first, second = (RowSparse(torch.optim.AdamW([{"params": each}], lr=0.1)) for each in (mine, theirs))
    give_gradients(mine, 0)
    give_gradients(theirs, 0)
    for parameter in mine:
        parameter.grad = parameter.grad * 8
    scaler.step(first)
    scaler.update()
    second.step()
    torch.testing.assert_close(mine, theirs)
    give_gradients(mine, 1)
    mine[1].grad = mine[1].grad * float("inf")
    scaler.step(first)
    torch.testing.assert_close(mine, theirs)
