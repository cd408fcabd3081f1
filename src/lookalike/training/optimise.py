"""Sparse steps, clipping, resizing and the moving average: what surrounds an optimizer's step."""

import copy
from collections.abc import Collection, Iterable
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from lookalike.model.embedder import EmbeddingModel

BLOCK = 2**21
"""Numbers of a sparse gradient that are stepped at a time: little memory, and few calls."""


class RowSparse(torch.optim.Optimizer):
    """The chosen optimiser, which changes only those rows of a parameter that its sparse gradient names.

    The other rows and their state stay as they are: momentum and averages move when their row has a gradient,
    not in between. Equal to `torch.optim.SparseAdam` where the chosen optimiser is Adam, and several times as
    fast. It holds for every optimiser that treats each number of a parameter alone (Adam, AdamW, SGD, ...).
    Parameters with an ordinary gradient are left to the chosen optimiser.

    Args:
        inner: the chosen optimiser; its groups and state are shared, and `state_dict` is its own.
    """

    def __init__(self, inner: torch.optim.Optimizer) -> None:
        super().__init__(inner.param_groups, inner.defaults)
        self.inner = inner
        self._row_share()

    def step(self, closure: None = None) -> None:  # pyrefly: ignore[bad-override]
        """One step with the gradients that are there."""
        del closure
        parameters = [
            (group, parameter, _tidy(parameter, parameter.grad))
            for group in self.param_groups
            for parameter in group["params"]
            if parameter.grad is not None and parameter.grad.is_sparse
        ]
        for _, parameter, _ in parameters:
            parameter.grad = None
        self.inner.step()
        for group, parameter, gradient in parameters:
            self._step_rows(group, parameter, gradient)
            parameter.grad = gradient

    @torch.no_grad()
    def _step_rows(self, group: dict[str, Any], parameter: Tensor, gradient: Tensor) -> None:
        """Let the chosen optimiser step on blocks of rows, as if each block were a parameter of its own."""
        state = self.inner.state[parameter]
        before = dict(state)
        size = max(1, BLOCK // parameter[0].numel())
        for rows, values in zip(
            gradient.indices()[0].split(size), gradient.values().split(size), strict=True
        ):
            block = nn.Parameter(parameter.index_select(0, rows))
            block.grad = values
            saved_values = {
                name: value.index_select(0, rows) if _by_row(value, parameter) else copy.deepcopy(value)
                for name, value in before.items()
            }
            after = self._step_block({**group, "params": [block]}, block, saved_values)
            parameter.index_copy_(0, rows, block)
            for name, value in after.items():
                if not _by_row(value, block):
                    state[name] = value
                    continue
                if name not in state:
                    state[name] = torch.zeros_like(parameter)
                state[name].index_copy_(0, rows, value)

    def _step_block(self, group: dict[str, Any], block: Tensor, state: dict[str, Any]) -> dict[str, Any]:
        """One step of a group of its own, on from a state; the state after it."""
        self.inner.state[block], self.inner.param_groups = state, [group]
        try:
            self.inner.step()
        finally:
            self.inner.param_groups = self.param_groups
            after = self.inner.state.pop(block)
        return after

    def state_dict(self) -> dict[str, Any]:
        """State and groups of the chosen optimiser."""
        return self.inner.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from such a state."""
        self.inner.load_state_dict(state_dict)
        self._row_share()

    def _row_share(self) -> None:
        self.param_groups, self.state = self.inner.param_groups, self.inner.state


def _by_row(value: object, parameter: Tensor) -> bool:
    """Whether `value` belongs to the rows of a parameter, as averages do and a count of steps does not."""
    return isinstance(value, Tensor) and value.shape == parameter.shape


def _tidy(parameter: Tensor, gradient: Tensor) -> Tensor:
    """The sparse gradient of a parameter with every row named once, also set as its gradient.

    Autograd forgets whether a gradient was so already; to look is much cheaper than to sort and sum again.
    """
    rows = gradient._indices()[0]
    once = bool((rows[1:] > rows[:-1]).all())
    parameter.grad = tidy = gradient._coalesced_(True) if once else gradient.coalesce()
    return tidy


def clip_gradients(parameters: Iterable[Tensor], longest: float, shards: Collection[Tensor] = ()) -> Tensor:
    """Scale all gradients down to the norm `longest` if theirs is larger; returns their norm before that.

    Args:
        parameters: all that is trained; gradients may be sparse.
        longest: the maximum norm of all gradients taken as one vector.
        shards: those of them that differ by process, as parts of something whole; the lengths of all parts
            count in every process, so that all scale alike.
    """
    shard_ids = {id(shard) for shard in shards}
    gradient_list = [
        (id(p) in shard_ids, _gradient_values(p, p.grad)) for p in parameters if p.grad is not None
    ]
    square = torch.nn.utils.get_total_norm([numbers for part, numbers in gradient_list if not part]).square()
    if shards:
        square = square.to(next(iter(shards)).device)
        parts = torch.nn.utils.get_total_norm([numbers for part, numbers in gradient_list if part]).to(square)
        parts.square_()
        dist.all_reduce(parts)
        square = square + parts
    length = square.sqrt()
    factor = (longest / (length + 1e-6)).clamp(max=1)
    for _, numbers in gradient_list:
        numbers.mul_(factor.to(numbers.device))
    return length


def _gradient_values(parameter: Tensor, gradient: Tensor) -> Tensor:
    """The stored values of a gradient, dense or sparse."""
    return _tidy(parameter, gradient).values() if gradient.is_sparse else gradient


def shrink_images(images: Tensor, size: int) -> Tensor:
    """Images [B, 3, H, W] as float, uint8 brought to 0…1, resized to `size` if it is not 0 and smaller."""
    if not size or size >= images.shape[-1]:
        return images
    scaled = images if images.is_floating_point() else images.float() / 255
    return F.interpolate(scaled, size=(size, size), mode="bilinear", antialias=True)


class Average:
    """Exponential moving average of the model's weights.

    The decay rises from 0.1 to `decay` over the first steps, so that the start is soon forgotten.
    """

    def __init__(self, model: EmbeddingModel, decay: float):
        self.model, self.decay, self.steps = copy.deepcopy(model).eval(), decay, 0

    @torch.no_grad()
    def update(self, model: EmbeddingModel) -> None:
        """Update with the weights and statistics of `model`."""
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        self.steps += 1
        for mine, theirs in zip(self.model.state_dict().values(), model.state_dict().values(), strict=True):
            if mine.dtype.is_floating_point:
                mine.lerp_(theirs, 1 - decay)
            else:
                mine.copy_(theirs)

    def state_dict(self) -> dict[str, Any]:
        """The averaged weights, and the number of steps."""
        return {"model": dict(self.model.state_dict()), "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from such a state."""
        self.model.load_state_dict(state["model"])
        self.steps = state["steps"]
