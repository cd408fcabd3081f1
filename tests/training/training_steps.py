"""Watch or interrupt the steps of a training, by torch's own hook on optimizers."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from lookalike.training.optimise import RowSparse


@contextmanager
def after_each_step(act: Callable[[int, torch.optim.Optimizer], Any]) -> Iterator[None]:
    """Call `act(number, optimizer)` after each step of training; trials are not counted."""
    count = 0

    def hook(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        nonlocal count
        names = {group.get("name") for group in optimizer.param_groups}
        if "trial" in names or names == {None} or isinstance(optimizer, RowSparse):
            return
        count += 1
        act(count, optimizer)

    handle = register_optimizer_step_post_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def stop_in_step(number: int, error: BaseException) -> Any:
    """Raise an error in this step, once its weights are changed, as a crash there would."""

    def act(count: int, _: torch.optim.Optimizer) -> None:
        if count == number:
            raise error

    return after_each_step(act)
