"""Two gloo processes give the gradient of one, step after step (in float64, where rounding hides nothing)."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from lookalike.data.samplers import PerClass
from lookalike.errors import ConfigError
from lookalike.losses import ArcFace, Distillation, MultiSimilarity, ProxyAnchor, Terms
from lookalike.losses.cross_batch_memory import CrossBatchMemory
from lookalike.losses.elastic_arcface import ElasticArcFace
from lookalike.losses.modifiers import AcrossProcesses
from lookalike.training.processes import Share, equalise_parameters
from ranks import PROCESSES, run_ranks

LOSSES = {
    "pair": MultiSimilarity,
    "proxy": lambda: ProxyAnchor(num_classes=4, dim=6),
    "memory": lambda: CrossBatchMemory(MultiSimilarity(), size=29, dim=6, warm_up=1),
    "drawn": lambda: ElasticArcFace(num_classes=4, dim=6),
    "mixed": lambda: Terms({"arcface": (1.0, ArcFace(num_classes=4, dim=6, scale=4.0))}),
    "distilled": lambda: Terms({"distill": (2.0, Distillation(6, 3))}),
    "relations": lambda: Terms(
        {"pairs": (1.0, MultiSimilarity()), "distill": (2.0, Distillation(6, 3, "relational"))}
    ),
}
CASES = [(name, uneven) for name in LOSSES for uneven in (False, True)]
STEPS = 4


def batch(name: str, step: int) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Images, and what is known of them: labels (two where they are mixed), what a teacher makes of them."""
    torch.manual_seed(step)
    images, labels, teacher = torch.randn(12, 5).double(), torch.arange(12) // 3, torch.randn(12, 3).double()
    if name == "mixed":
        labels = torch.stack([labels, labels.roll(4)], dim=1)
    return images, [labels, teacher] if name in ("distilled", "relations") else [labels]


def parts(name: str) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(4)
    net, loss = nn.Linear(5, 6), LOSSES[name]()
    if name == "mixed":
        loss.mixed_share = 0.3
    return net.double(), loss.double()


def train(name: str, net: nn.Module, loss: nn.Module, rows: torch.Tensor) -> list[torch.Tensor]:
    """Values and gradients of some steps."""
    parameters = [*net.parameters(), *loss.parameters()]
    optimizer, found = torch.optim.SGD(parameters, lr=0.1), []
    for step in range(STEPS):
        images, known = batch(name, step)
        value = loss(net(images[rows]), *(each[rows] for each in known))
        value.backward()
        found += [value.detach(), *(parameter.grad.clone() for parameter in parameters)]
        optimizer.step()
        optimizer.zero_grad()
    return found


def work(rank: int, folder: Path) -> None:
    for name, uneven in CASES:
        net, loss = parts(name)
        rows = torch.arange(12) if not uneven else torch.arange(11)
        torch.manual_seed(rank)  # as after dropout on shares of different sizes
        found = train(name, DistributedDataParallel(net), AcrossProcesses(loss), rows[rank::PROCESSES])
        torch.save([found, dict(loss.state_dict())], folder / f"{name}{uneven}{rank}.pt")
    loss = ProxyAnchor(num_classes=4, dim=6)
    net = nn.BatchNorm1d(3)
    net.running_mean.fill_(rank + 1)
    loss.proxies.data.fill_(rank + 1)
    equalise_parameters([net], loss)
    assert (net.running_mean == 1).all() and (loss.proxies == 1).all()


@pytest.fixture(scope="module")
def two_process_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("ranks")
    run_ranks(work, folder)
    return folder


def load(found: Path, name: str, uneven: bool) -> list[list]:
    return [torch.load(found / f"{name}{uneven}{rank}.pt", weights_only=True) for rank in range(PROCESSES)]


@pytest.mark.parametrize(("name", "uneven"), [case for case in CASES if case[0] != "drawn"])
def test_two_processes_equal_one(name, uneven, two_process_folder):
    net, loss = parts(name)
    expected = train(name, net, loss, torch.arange(11 if uneven else 12))
    for values, state in load(two_process_folder, name, uneven):
        torch.testing.assert_close(values, expected, rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(state, dict(loss.state_dict()), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("uneven", [False, True])
def test_what_a_loss_draws_is_the_same_in_all_processes(uneven, two_process_folder):
    (first, _), (second, _) = load(two_process_folder, "drawn", uneven)
    for mine, theirs in zip(first, second, strict=True):
        assert torch.equal(mine, theirs)


class Fixed:
    def __init__(self, batches: list[list[int]]):
        self.batches = batches

    def __iter__(self):
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


def test_shares_are_disjoint_and_together_the_batch():
    whole = Fixed([[5, 3, 8, 1], [2, 9, 4, 7]])
    first, second = list(Share(whole, 0, 2)), list(Share(whole, 1, 2))
    assert [sorted(a + b) for a, b in zip(first, second, strict=True)] == [sorted(each) for each in whole]
    assert all(not set(a) & set(b) for a, b in zip(first, second, strict=True))


def test_shares_differ_by_one_row_at_most_and_none_is_empty():
    assert [list(Share(Fixed([[1, 2, 3]]), process, 2)) for process in range(2)] == [[[1, 3]], [[2]]]
    with pytest.raises(ConfigError, match="a batch of 2 images for 3 processes: take larger batches"):
        list(Share(Fixed([[1, 2]]), 0, 3))


def test_batches_of_classes_are_disjoint_by_process_and_others_in_each_epoch():
    batches, epochs = PerClass(np.repeat(np.arange(9), 7), 4, 3), []
    for epoch in (1, 2):
        batches.set_epoch(epoch)
        shares = [list(Share(batches, process, 3)) for process in range(3)]
        for whole, *parts in zip(batches, *shares, strict=True):
            assert sorted([*parts[0], *parts[1], *parts[2]]) == sorted(whole)
            assert [len(set(part)) for part in parts] == [4, 4, 4]
        epochs.append(shares)
    assert epochs[0] != epochs[1]
