"""Two gloo processes give the gradient of one."""

import socket
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from lookalike.errors import ConfigError
from lookalike.losses import MultiSimilarity, ProxyAnchor
from lookalike.losses.modifiers import AcrossProcesses
from lookalike.training.processes import Share

PROCESSES = 2
CASES = [("pair", False), ("pair", True), ("proxy", False), ("proxy", True)]


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(3)
    return torch.randn(12, 5), torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3])


def parts(name: str) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(4)
    net = nn.Linear(5, 6)
    return net, MultiSimilarity() if name == "pair" else ProxyAnchor(num_classes=4, dim=6)


def gradients(net: nn.Module, loss: nn.Module) -> list[torch.Tensor]:
    return [p.grad for module in (net, loss) for p in module.parameters()]


def work(rank: int, port: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=PROCESSES)
    images, labels = batch()
    for name, uneven in CASES:
        net, loss = parts(name)
        rows = torch.arange(7 * rank, 7 + 5 * rank) if uneven else torch.arange(rank, 12, PROCESSES)
        wrapped = DistributedDataParallel(net)  # its hooks live as long as it does
        value = AcrossProcesses(loss)(wrapped(images[rows]), labels[rows])
        value.backward()
        torch.save([value.detach(), *gradients(net, loss)], Path(folder) / f"{name}{uneven}{rank}.pt")
    dist.destroy_process_group()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("ranks")
    mp.spawn(work, (free_port(), str(folder)), nprocs=PROCESSES)
    return folder


@pytest.mark.parametrize(("name", "uneven"), CASES)
def test_two_processes_equal_one(name, uneven, found):
    net, loss = parts(name)
    images, labels = batch()
    value = loss(net(images), labels)
    value.backward()
    for rank in range(PROCESSES):
        theirs = torch.load(found / f"{name}{uneven}{rank}.pt", weights_only=True)
        torch.testing.assert_close(theirs, [value.detach(), *gradients(net, loss)], rtol=1e-5, atol=1e-6)


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


def test_a_batch_that_does_not_divide_is_refused():
    with pytest.raises(ConfigError, match="3 does not divide by 2"):
        list(Share(Fixed([[1, 2, 3]]), 0, 2))
