"""Running statistics of some margin losses, without gradient."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook


class _Steps:
    """Counts the steps of every torch optimizer in this process.

    The parameters themselves do not show a step: fused kernels and writes to `p.data` leave their version
    counter as it is, and frozen proxies never change. A step that mixed precision skips is not counted.
    """

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        """Count one step; fused optimizers skip it themselves where `found_inf` is set."""
        skipped = getattr(optimizer, "found_inf", None)
        if skipped is None or not bool(skipped):
            self.count += 1


STEPS = _Steps()
register_optimizer_step_post_hook(STEPS)


class Running(nn.Module):
    """Statistics that follow the batches, one update for each step of the optimizer.

    However many batches pass before a step (in chunks, accumulated, or one batch twice), the statistics are
    the earlier ones, updated once with the last batch. They are saved with the loss.

    A step is over when any torch optimizer of this process has stepped or the proxies have changed in place.
    While no optimizer has stepped since this was built, as in a loop that writes parameters by itself, other
    changes of the proxies count too, and with frozen proxies every batch is a step.

    Args:
        start: the statistics at the start of training.
    """

    now: Tensor
    before: Tensor

    def __init__(self, *start: float) -> None:
        super().__init__()
        self.register_buffer("now", torch.tensor(start))
        self.register_buffer("before", torch.tensor(start))
        self.built, self.seen = STEPS.count, (-1, -1, 0.0)

    def previous(self, proxies: Tensor) -> Tensor:
        """The statistics before this step of the optimizer."""
        state = (STEPS.count, proxies._version, self._content(proxies))
        if state != self.seen:
            self.before.copy_(self.now)
            self.seen = state
        return self.before

    def follow(self, proxies: Tensor, measured: Tensor, rate: float) -> None:
        """Move the share `rate` of the way from the previous statistics to those measured on a batch."""
        self.now.copy_(self.previous(proxies).lerp(measured.to(self.now.dtype), rate))

    def _content(self, proxies: Tensor) -> float:
        """A number that tells contents apart while no optimizer has stepped; NaN, which is never the same."""
        if STEPS.count != self.built:
            return 0.0
        if not proxies.requires_grad:
            return float("nan")
        return torch.linalg.vector_norm(proxies.detach(), dtype=torch.float64).item()
