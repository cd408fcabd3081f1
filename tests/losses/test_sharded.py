"""Two gloo processes with a part of the classes each equal one process with all of them."""

import copy
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from lookalike.losses import MultiSimilarity, Terms
from lookalike.losses._margin_head import MarginOptions
from lookalike.losses.adacos import AdaCos
from lookalike.losses.adaface import AdaFace
from lookalike.losses.arcface import ArcFace
from lookalike.losses.cosface import CosFace
from lookalike.losses.curricularface import CurricularFace
from lookalike.losses.magface import MagFace
from lookalike.losses.modifiers import AcrossProcesses
from lookalike.losses.sampled import SampledClasses
from lookalike.losses.sharded import ShardedClasses, divide_classes, join_shards, parameters_by_process
from lookalike.losses.sub_center_arcface import SubCenterArcFace
from lookalike.losses.uniface import UniFace
from lookalike.training.optimise import RowSparse, clip_gradients
from ranks import PROCESSES, run_ranks

CLASSES, DIM, STEPS = 7, 6, 3  # 3 and 4 classes
ALL = 0.999  # all are drawn, but with sparse gradients
SMOOTH = MarginOptions(smoothing=0.1, focal=2.0)
RARE = MarginOptions(rare_margin=0.5, skip_above=0.4)
HEADS = {
    "ArcFace": lambda: ArcFace(CLASSES, DIM),
    "CosFace": lambda: CosFace(CLASSES, DIM),
    "centers": lambda: SubCenterArcFace(CLASSES, DIM, centers=2),
    "AdaFace": lambda: AdaFace(CLASSES, DIM, scale=10),
    "MagFace": lambda: MagFace(CLASSES, DIM, scale=10),
    "CurricularFace": lambda: CurricularFace(CLASSES, DIM, scale=10),
    "AdaCos": lambda: AdaCos(CLASSES, DIM),
    "smooth": lambda: ArcFace(CLASSES, DIM, options=SMOOTH),
    "rare": lambda: ArcFace(CLASSES, DIM, options=RARE, class_counts=list(range(1, CLASSES + 1))),
}
CASES = [(name, 1.0, "mixed") for name in HEADS] + [
    ("ArcFace", ALL, "mixed"),
    ("ArcFace", 1.0, "one side"),
    ("CurricularFace", 1.0, "one side"),
    ("smooth", ALL, "one side"),
]


def batch(step: int, which: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Images and labels; on `one side` all classes are those of the second process."""
    generator = torch.Generator().manual_seed(step)
    labels = torch.randint(CLASSES, (12,), generator=generator)
    return torch.randn(12, 5, generator=generator), labels if which == "mixed" else 4 + labels % 3


def parts(name: str, wrap) -> tuple[nn.Module, Terms]:
    torch.manual_seed(4)
    net = nn.Linear(5, DIM)
    return net, Terms({"head": (1.0, wrap(HEADS[name]())), "pairs": (0.5, MultiSimilarity())})


def train(net: nn.Module, loss: nn.Module, rows: torch.Tensor, which: str) -> list[torch.Tensor]:
    """Values, the model's gradients and the lengths of all gradients, of some clipped steps."""
    parameters, found = [*net.parameters(), *loss.parameters()], []
    optimizer = RowSparse(torch.optim.AdamW([{"params": parameters}], lr=0.05, weight_decay=0.0))
    for step in range(STEPS):
        images, labels = batch(step, which)
        value = loss(net(images[rows]), labels[rows])
        value.backward()
        length = clip_gradients(parameters, 0.5, parameters_by_process(loss))
        found += [value.detach(), length, *(each.grad.clone() for each in net.parameters())]
        optimizer.step()
        optimizer.zero_grad()
    return found


def work(rank: int, folder: Path) -> None:
    rows = torch.arange(5) if rank == 0 else torch.arange(5, 12)
    for name, rate, which in CASES:
        net, terms = parts(name, lambda head, rate=rate: ShardedClasses(head, rate))
        found = train(DistributedDataParallel(net), AcrossProcesses(terms), rows, which)
        torch.save((found, terms.state_dict()), folder / f"{name}{rate}{which}{rank}.pt")
        whole = parts(name, SampledClasses)[1].state_dict()
        terms.load_state_dict(copy.deepcopy(whole))
        head = terms.losses["head"]
        assert torch.equal(head.head.proxies, head.local_classes(whole["losses.head.head.proxies"]))
    words = []
    for make in (
        lambda: UniFace(CLASSES, DIM),
        lambda: ArcFace(1, DIM),
        lambda: ArcFace(CLASSES, DIM, options=MarginOptions(smoothing=0.1, skip_above=0.5)),
    ):
        with pytest.raises(ValueError, match="ShardedClasses") as refused:
            ShardedClasses(make())
        words.append(str(refused.value))
    (folder / "refused.txt").write_text("\n".join(words))


@pytest.fixture(scope="module")
def two_process_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    run_ranks(work, folder)
    return folder


@pytest.mark.parametrize(("name", "rate", "which"), CASES)
def test_training_is_that_of_one_process(name, rate, which, two_process_folder):
    net, loss = parts(name, lambda head: SampledClasses(head, 1.0))
    expected = train(net, loss, torch.arange(12), which)
    ranks = [
        torch.load(two_process_folder / f"{name}{rate}{which}{rank}.pt", weights_only=True)
        for rank in range(PROCESSES)
    ]
    for values, _ in ranks:
        torch.testing.assert_close(values, expected, rtol=1e-4, atol=1e-5)
    whole = join_shards([state for _, state in ranks])
    proxies = "losses.head.head.proxies"
    torch.testing.assert_close(whole[proxies], loss.state_dict()[proxies], rtol=1e-4, atol=1e-5)
    _, other = parts(name, SampledClasses)
    other.load_state_dict(whole)
    assert torch.equal(other.losses["head"].head.proxies, whole[proxies])


def test_what_cannot_be_divided_is_refused(two_process_folder):
    words = (two_process_folder / "refused.txt").read_text().splitlines()
    assert "UniFace is not a log-sum-exp" in words[0]
    assert "1 classes for 2 processes" in words[1]
    assert "smoothing and skip_above" in words[2]


def test_every_margin_loss_that_is_held_is_sampled():
    heads = {"arcface": (1.0, ArcFace(CLASSES, DIM)), "pairs": (1.0, MultiSimilarity())}
    loss = Terms({**heads, "own": (1.0, SampledClasses(CosFace(CLASSES, DIM), 0.5))})
    assert divide_classes(loss, 0.3) == 1
    assert isinstance(loss.losses["arcface"], SampledClasses) and loss.losses["arcface"].sample.rate == 0.3
    assert loss.losses["own"].sample.rate == 0.5
    assert isinstance(loss.losses["pairs"], MultiSimilarity)


def test_one_process_is_told_to_use_the_other():
    with pytest.raises(ValueError, match="use SampledClasses"):
        ShardedClasses(ArcFace(CLASSES, DIM))
