"""Is a loss right? Its value and gradient, computed in every way that training may ask for, side by side."""

import inspect
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn

from lookalike.losses.cross_batch_memory import CrossBatchMemory
from lookalike.losses.modifiers import AcrossProcesses
from lookalike.training.accumulate import backward_in_chunks
from lookalike.training.processes import make_accelerator

PROCESSES = 2
Verdict = tuple[str, str]


@dataclass(frozen=True)
class Finding:
    """What one check found: `status` is ok, refused (with a clear error), skipped or wrong."""

    check: str
    status: str
    words: str


@dataclass(frozen=True)
class Trial:
    """A loss to check, and the batches to check it with.

    Args:
        make: builds the loss, equal each time; it must survive pickling, for the second process.
        classes, per_class, dim: of the batches.
        tolerance: largest difference that counts as equal, in float64 and relative to the larger number.
    """

    make: Callable[[], nn.Module]
    classes: int = 8
    per_class: int = 4
    dim: int = 16
    tolerance: float = 1e-5

    def batch(self, seed: int = 0) -> tuple[Tensor, Tensor]:
        """Loose clusters on no sphere in particular, in float64, and their class ids."""
        numbers = torch.Generator().manual_seed(seed)
        labels = torch.arange(self.classes).repeat_interleave(self.per_class)
        centers = torch.randn(self.classes, self.dim, generator=numbers, dtype=torch.float64)
        noise = torch.randn(len(labels), self.dim, generator=numbers, dtype=torch.float64)
        return 0.5 * centers[labels] + noise, labels

    def loss(self) -> nn.Module:
        """The loss as it starts, in float64."""
        torch.manual_seed(0)
        return self.make().double()

    def net(self) -> nn.Module:
        """A small model, so that the gradient of weights can be compared."""
        torch.manual_seed(1)
        return nn.Sequential(
            nn.Linear(self.dim, 2 * self.dim), nn.Tanh(), nn.Linear(2 * self.dim, self.dim)
        ).double()


Run = Callable[[Trial], Verdict]


def check_all(trial: Trial, checks: Mapping[str, Run]) -> Iterator[Finding]:
    """What each check finds, one after the other; an error that is no clear refusal is wrong, too."""
    for name, run in checks.items():
        try:
            yield Finding(name, *run(trial))
        except Exception as error:
            last = str(error).strip().splitlines()[-1:]
            yield Finding(name, "wrong", ": ".join([type(error).__name__, *last]))


def compute_gradients(
    loss: nn.Module, embeddings: Tensor, labels: Tensor, seed: int = 2, **more: object
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Value, gradient by embeddings, and gradients by the loss's own parameters."""
    leaf = embeddings.detach().clone().requires_grad_()
    torch.manual_seed(seed)
    value = loss(leaf, labels, **more)
    value.backward()
    parameter_gradients = [
        torch.zeros_like(p) if p.grad is None else p.grad.to_dense() for p in loss.parameters()
    ]
    return value.detach(), torch.zeros_like(leaf) if leaf.grad is None else leaf.grad, parameter_gradients


def gradient_difference(computed: list[Tensor], expected: list[Tensor]) -> float:
    """Largest difference of numbers, relative to the largest number of each tensor (at least 1e-6)."""
    worst = 0.0
    for mine, theirs in zip(computed, expected, strict=True):
        if mine.numel():
            scale = float(theirs.abs().max().clamp_min(1e-6))
            worst = max(worst, float((mine.double() - theirs.double()).abs().max()) / scale)
    return worst


def compare_gradients(trial: Trial, computed: list[Tensor], expected: list[Tensor], against: str) -> Verdict:
    """Whether both are equal within the tolerance, in words."""
    difference = gradient_difference(computed, expected)
    right = difference <= trial.tolerance
    return (
        "ok" if right else "wrong",
        f"{'equal to' if right else 'differs from'} {against} (by {difference:.1e})",
    )


def _check_dense(trial: Trial) -> Verdict:
    loss, (embeddings, labels) = trial.loss(), trial.batch()
    value, gradient, parameter_gradients = compute_gradients(loss, embeddings, labels)
    if value.shape != () or not value.isfinite():
        return "wrong", f"not one finite number: {value.tolist()}"
    if not gradient.isfinite().all() or not gradient.abs().sum() > 0:
        return "wrong", "the gradient is zero or not finite on an ordinary batch"
    still = [
        name
        for (name, _), moved in zip(loss.named_parameters(), parameter_gradients, strict=True)
        if not moved.abs().sum() > 0
    ]
    if still:
        return "wrong", f"{', '.join(still)}: no gradient on an ordinary batch, so it would never train"
    return "ok", f"{value.item():.6g}"


def _check_derivative(trial: Trial) -> Verdict:
    """Central differences along random directions."""
    if getattr(trial.loss(), "holds_fixed", False):
        return "skipped", "holds a part fixed when the gradient is taken, as its paper says"
    embeddings, labels = trial.batch()
    value, gradient, _ = compute_gradients(trial.loss(), embeddings, labels)
    step = 1e-6 if value.dtype == torch.float64 else 1e-3
    computed, expected = [], []
    for seed in range(5):
        direction = torch.randn(
            embeddings.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
        )
        sides = [
            compute_gradients(trial.loss(), embeddings + sign * step * direction, labels)[0]
            for sign in (1, -1)
        ]
        computed.append((gradient * direction).sum())
        expected.append((sides[0] - sides[1]) / (2 * step))
    difference = gradient_difference([torch.stack(computed)], [torch.stack(expected)])
    limit = 1e-4 if value.dtype == torch.float64 else 3e-2
    words = "the derivative of the value" if difference <= limit else "not the derivative of the value"
    return "ok" if difference <= limit else "wrong", f"{words} (off by {difference:.1e} of it)"


def _check_order(trial: Trial) -> Verdict:
    embeddings, labels = trial.batch()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    value, gradient, parameter_gradients = compute_gradients(trial.loss(), embeddings, labels)
    if compute_gradients(trial.loss(), embeddings, labels, seed=3)[0] != value:
        return "skipped", "draws random numbers, so another order is another draw"
    moved = compute_gradients(trial.loss(), embeddings[order], labels[order])
    return compare_gradients(
        trial,
        [moved[0], moved[1], *moved[2]],
        [value, gradient[order], *parameter_gradients],
        "the batch in another order",
    )


def _gradients_through_net(trial: Trial, chunk: int) -> list[Tensor]:
    net, loss, (images, labels) = trial.net(), trial.loss(), trial.batch()
    torch.manual_seed(2)
    value = backward_in_chunks(net, loss, images, [labels], chunk, make_accelerator("no", images.device))
    return [value, *_parameter_list(net), *_parameter_list(loss)]


def _parameter_list(module: nn.Module) -> list[Tensor]:
    return [torch.zeros_like(p) if p.grad is None else p.grad.to_dense() for p in module.parameters()]


def _check_chunks(trial: Trial) -> Verdict:
    size = trial.classes * trial.per_class
    return compare_gradients(
        trial,
        _gradients_through_net(trial, max(1, size // 3)),
        _gradients_through_net(trial, size),
        "one pass",
    )


def _check_memory(trial: Trial) -> Verdict:
    if "extra" not in inspect.signature(trial.loss().forward).parameters:
        return "skipped", "takes no `extra`, so it cannot compare with a memory"
    (embeddings, labels), (memory_embeddings, seen_labels) = trial.batch(), trial.batch(seed=1)
    alone = compute_gradients(trial.loss(), embeddings, labels)
    empty = (torch.zeros(5, trial.dim, dtype=torch.float64), torch.full((5,), -1))
    nothing = compute_gradients(trial.loss(), embeddings, labels, extra=empty)
    status, words = compare_gradients(
        trial, flatten_gradients(nothing), flatten_gradients(alone), "none when the memory is empty"
    )
    if status == "wrong":
        return status, words
    memory = CrossBatchMemory(trial.loss(), size=len(memory_embeddings), dim=trial.dim)
    memory(memory_embeddings, seen_labels)
    computed = compute_gradients(memory, embeddings, labels)
    reference = trial.loss()
    reference(memory_embeddings, seen_labels)  # running statistics have seen the same batches
    expected = compute_gradients(
        reference, embeddings, labels, extra=(memory_embeddings.float().double(), seen_labels)
    )
    return compare_gradients(
        trial, flatten_gradients(computed), flatten_gradients(expected), "the last batch given as `extra`"
    )


def flatten_gradients(parts: tuple[Tensor, Tensor, list[Tensor]]) -> list[Tensor]:
    """What `compute_gradients` gives, as one list."""
    return [parts[0], parts[1], *parts[2]]


def _check_processes(trial: Trial) -> Verdict:
    size = trial.classes * trial.per_class
    with tempfile.TemporaryDirectory() as folder:
        mp.start_processes(_run_process, (trial, folder), nprocs=PROCESSES, start_method="spawn")
        files = [Path(folder) / f"{rank}.pt" for rank in range(PROCESSES)]
        computed = [torch.load(file, weights_only=True) for file in files]
    single = _gradients_through_net(trial, size)
    verdicts = [compare_gradients(trial, theirs, single, "one process") for theirs in computed]
    return max(verdicts, key=lambda verdict: verdict[0] == "wrong")


def _run_process(rank: int, trial: Trial, folder: str) -> None:
    """One of the processes: uneven shares of the batch."""
    torch.set_num_threads(1)
    meeting = f"file://{folder}/meeting"
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=PROCESSES)
    net, loss, (images, labels) = trial.net(), trial.loss(), trial.batch()
    first = len(labels) // 3
    mine = slice(0, first) if rank == 0 else slice(first, None)
    shared = nn.parallel.DistributedDataParallel(net)
    torch.manual_seed(2)
    value = AcrossProcesses(loss)(shared(images[mine]), labels[mine])
    value.backward()
    torch.save([value.detach(), *_parameter_list(net), *_parameter_list(loss)], Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


EQUALITY: dict[str, Run] = {
    "ordinary batch": _check_dense,
    "gradient": _check_derivative,
    "order of the batch": _check_order,
    "chunks": _check_chunks,
    "memory": _check_memory,
    "two processes": _check_processes,
}
"""Value and gradient, computed in every way that training may ask for."""
