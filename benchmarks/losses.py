"""Speed and memory of losses, forward and backward, against pytorch-metric-learning in the same run.

python benchmarks/losses.py [pairs] [proxies] [heads] [sampled] [chunks]

Two threads. Times are medians of interleaved calls, with the smallest in brackets; memory is how much a
process of its own grows, from before the loss is built to its peak. The last column is the goal.
"""

import json
import re
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pytorch_metric_learning import distances
from pytorch_metric_learning import losses as theirs
from pytorch_metric_learning import miners as their_miners
from torch import Tensor, nn

from _common import show
from lookalike import losses, miners

Call = Callable[[Tensor, Tensor], Tensor]
CLASSES, HEAD_CLASSES, THREADS = 11_318, 100_000, 2


@dataclass(frozen=True)
class Case:
    """One comparison: how to build both sides (the second may be missing), the batch, and the goal."""

    name: str
    ours: Callable[[], Call]
    peer: Callable[[], Call] | None
    images: int
    goal: str
    per_class: int = 4
    classes: int | None = None
    dim: int = 128
    calls: int = 7

    def batch(self) -> tuple[Tensor, Tensor]:
        """Loose clusters, or random vectors with random classes."""
        torch.manual_seed(0)
        if self.classes:
            return torch.randn(self.images, self.dim), torch.randint(self.classes, (self.images,))
        labels = torch.arange(self.images) // self.per_class
        centers = torch.randn(int(labels.max()) + 1, self.dim)
        return torch.randn(self.images, self.dim) + 0.5 * centers[labels], labels


def with_miner(loss: Any, miner: Any) -> Call:
    """A peer's loss on what a peer's miner chooses."""
    return lambda embeddings, labels: loss(embeddings, labels, miner(embeddings, labels))


def linear(dim: int) -> Call:
    """What every classifier costs: a linear layer and cross-entropy."""
    layer = nn.Linear(dim, HEAD_CLASSES, bias=False)
    return lambda embeddings, labels: nn.functional.cross_entropy(layer(embeddings), labels)


def their_triplet() -> Any:
    return theirs.TripletMarginLoss(margin=0.2)


def their_semi_hard() -> Call:
    return with_miner(their_triplet(), their_miners.TripletMarginMiner(0.2, type_of_triplets="semihard"))


def their_batch_hard() -> Call:
    return with_miner(their_triplet(), their_miners.BatchHardMiner())


def their_multi_similarity() -> Call:
    return with_miner(theirs.MultiSimilarityLoss(), their_miners.MultiSimilarityMiner())


def their_contrastive() -> Call:
    return theirs.ContrastiveLoss(1, 0, distance=distances.CosineSimilarity())


def pairs() -> list[Case]:
    triplet = losses.Triplet
    return [
        Case("batch-all triplet", triplet, their_triplet, 512, "≥ 8 times faster, ≤ 1/4 memory"),
        Case("batch-all triplet", triplet, their_triplet, 1024, "≥ 16 times faster, ≤ 1/4 memory", calls=5),
        Case("batch-all, 16 a class", triplet, None, 4096, "≤ 1.2 s, ≤ 1.5 GB", per_class=16, calls=5),
        Case("semi-hard triplet", partial(triplet, "semi_hard"), their_semi_hard, 512, "≥ 8 times faster"),
        Case(
            "multi-similarity + miner",
            partial(losses.MultiSimilarity, miner=miners.multi_similarity),
            their_multi_similarity,
            512,
            "≥ 4 times faster",
            calls=21,
        ),
        Case("batch-hard triplet", partial(triplet, "batch_hard"), their_batch_hard, 512, "≥ 2", calls=21),
        Case("SupCon", losses.SupCon, theirs.SupConLoss, 512, "≥ 1.5 times faster", calls=21),
        Case("contrastive", losses.Contrastive, their_contrastive, 512, "≥ 1.3 times faster", calls=21),
    ]


def proxies() -> list[Case]:
    sizes, keys = (CLASSES, 128), {"classes": CLASSES, "calls": 11}
    soft = partial(losses.SoftTriple, *sizes, centers=10)
    their_soft = partial(theirs.SoftTripleLoss, *sizes, centers_per_class=10)
    return [
        Case(
            "Proxy-NCA",
            partial(losses.ProxyNCA, *sizes),
            partial(theirs.ProxyNCALoss, *sizes),
            128,
            "≥ 1.5 times faster",
            **keys,
        ),
        Case(
            "Proxy-Anchor",
            partial(losses.ProxyAnchor, *sizes),
            partial(theirs.ProxyAnchorLoss, *sizes),
            128,
            "≥ 2 times faster",
            **keys,
        ),
        Case("SoftTriple, 10 centres", soft, their_soft, 128, "≥ 2.5 times faster", **keys),
    ]


def heads() -> list[Case]:
    goal = "≤ 1.3 times the time, ≤ 1.5 times the memory"
    keys = {"classes": HEAD_CLASSES, "dim": 512, "calls": 7}
    size = (HEAD_CLASSES, 512)
    return [
        Case("ArcFace / linear", partial(losses.ArcFace, *size), partial(linear, 512), 128, goal, **keys),
        Case("CosFace / linear", partial(losses.CosFace, *size), partial(linear, 512), 128, goal, **keys),
        Case(
            "sub-centre ArcFace, 2 × 50,000 / linear",
            partial(losses.SubCenterArcFace, HEAD_CLASSES // 2, 512, centers=2),
            partial(linear, 512),
            128,
            goal,
            **{**keys, "classes": HEAD_CLASSES // 2},
        ),
        Case(
            "ArcFace / pytorch-metric-learning",
            partial(losses.ArcFace, *size),
            partial(theirs.ArcFaceLoss, *size),
            128,
            "faster, less memory",
            **keys,
        ),
    ]


CASES = {"pairs": pairs, "proxies": proxies, "heads": heads}


def seconds(sides: list[Call], case: Case) -> list[list[float]]:
    """Times of each side, called in turn; the first round does not count."""
    embeddings, labels = case.batch()
    found: list[list[float]] = [[] for _ in sides]
    for number in range(case.calls + 1):
        for side, loss in enumerate(sides):
            leaf = embeddings.clone().requires_grad_()
            if isinstance(loss, nn.Module):
                loss.zero_grad()
            started = time.perf_counter()
            loss(leaf, labels).backward()
            if number:
                found[side].append(time.perf_counter() - started)
    return found


def growth(group: str, number: int, side: int) -> float:
    """Peak memory in MiB that one side adds, in a process of its own."""
    command = [sys.executable, __file__, "memory", group, str(number), str(side)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def grow(case: Case, side: int) -> float:
    """Build and call one side once here, and say in MiB how much the process grew."""
    embeddings, labels = case.batch()
    (embeddings[:8].requires_grad_() @ embeddings[:8].T).sum().backward()
    build = (case.ours, case.peer)[side]
    before = resident()
    build()(embeddings.requires_grad_(), labels).backward()
    return peak() - before


def resident() -> float:
    """MiB in use now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def peak() -> float:
    """MiB in use at most; `getrusage` would count what the parent process had when it started this one."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    if found is None:
        raise SystemExit("memory is measured through /proc, which this system does not have")
    return int(found[1]) / 2**10


def words(times: list[float]) -> str:
    """Milliseconds: the median, and the smallest."""
    return f"{1000 * statistics.median(times):.1f} ({1000 * min(times):.1f})"


def row(group: str, number: int, case: Case) -> list[str]:
    """Measure one case."""
    builders = [case.ours, *([case.peer] if case.peer else [])]
    times = seconds([build() for build in builders], case)
    memory = [growth(group, number, side) for side in range(len(builders))]
    cells = [case.name, str(case.images), words(times[0]), f"{memory[0]:.0f}"]
    if case.peer is None:
        return [*cells, "", "", "", "", case.goal]
    faster = statistics.median(times[1]) / statistics.median(times[0])
    share = f"{memory[0] / memory[1]:.2f}"
    return [*cells, words(times[1]), f"{memory[1]:.0f}", f"{faster:.2f}", share, case.goal]


def check_sampled_head() -> None:
    """A margin head of a million classes that samples a tenth of them in each step."""
    import _partial_fc

    _partial_fc.show_table()


class Backbone(nn.Module):
    """A residual network without batch statistics, so that chunks equal one pass."""

    def __init__(self) -> None:
        super().__init__()
        import timm

        self.net = timm.create_model("resnet18", num_classes=128).eval()

    def forward(self, images: Tensor) -> Tensor:
        """Embeddings [B, 128]."""
        return self.net(images)


def chunk_step(net: nn.Module, images: int, chunk: int) -> float:
    """Seconds of one step on random images of 64 × 64."""
    from lookalike.training.accumulate import backward_in_chunks
    from lookalike.training.processes import make_accelerator

    torch.manual_seed(0)
    pixels, labels = torch.rand(images, 3, 64, 64), torch.arange(images) // 4
    accelerator = make_accelerator("no", torch.device("cpu"))
    loss, started = losses.MultiSimilarity(miner=miners.multi_similarity), time.perf_counter()
    backward_in_chunks(net, loss, pixels, labels, chunk, accelerator)
    return time.perf_counter() - started


def chunks() -> None:
    """Gradient caching: 1,024 images in chunks of 64, against one pass and against a batch of 64."""
    shapes = {"1,024 in chunks of 64": (1024, 64), "1,024 in one pass": (1024, 1024), "64": (64, 64)}
    net, times = Backbone(), {name: [] for name in shapes}
    for number in range(4):
        for name, shape in shapes.items():
            taken = chunk_step(net, *shape)
            times[name] += [taken] if number else []
    memory = {}
    for name, shape in shapes.items():
        command = [sys.executable, __file__, "memory", "chunks", *map(str, shape)]
        memory[name] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    slower = statistics.median(times["1,024 in chunks of 64"]) / statistics.median(times["1,024 in one pass"])
    more = memory["1,024 in chunks of 64"] / memory["64"]
    rows = [[name, words(times[name]), f"{memory[name]:.0f}"] for name in shapes]
    show(
        "Chunks: ResNet-18, 64 × 64 pixels, multi-similarity", ["batch", "ms a step (smallest)", "MiB"], rows
    )
    print(f"\nchunks take {slower:.2f} times the time of one pass (goal ≤ 1.6)")
    print(f"and {more:.2f} times the memory of a batch of 64 (goal ≤ 1.3)")


def memory_of(group: str, first: int, second: int) -> float:
    """What a child process measures."""
    if group == "chunks":
        net = Backbone()
        for parameter in net.parameters():
            parameter.grad = torch.zeros_like(parameter)
        pixels = first * 3 * 64 * 64 * 4 / 2**20
        before = resident()
        chunk_step(net, first, second)
        return peak() - before - pixels
    return grow(CASES[group]()[first], second)


def main(arguments: list[str]) -> None:
    """Print a table for each group asked for; all if none is."""
    torch.set_num_threads(THREADS)
    if arguments[:1] == ["memory"]:
        print(json.dumps(memory_of(arguments[1], int(arguments[2]), int(arguments[3]))))
        return
    others = {"sampled": check_sampled_head, "chunks": chunks}
    columns = [
        "loss",
        "batch",
        "ms (min)",
        "MiB",
        "peer: ms (min)",
        "MiB",
        "times faster",
        "memory ratio",
        "goal",
    ]
    for group in arguments or [*CASES, *others]:
        if group in others:
            others[group]()
            continue
        show(
            f"Losses: {group}",
            columns,
            [row(group, number, case) for number, case in enumerate(CASES[group]())],
        )


if __name__ == "__main__":
    main(sys.argv[1:])
