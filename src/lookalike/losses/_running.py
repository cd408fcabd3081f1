"""Numbers that some margin losses learn from the batches, without a gradient."""

import torch
from torch import Tensor, nn


class Running(nn.Module):
    """Numbers that follow the batches, one step for each step of the optimizer.

    However often a batch is seen before the proxies change (in chunks, or twice by a check), the numbers are
    those after one look at the last one. They are saved with the loss.

    Args:
        start: the numbers at the start of training.
    """

    now: Tensor
    before: Tensor

    def __init__(self, *start: float) -> None:
        super().__init__()
        self.register_buffer("now", torch.tensor(start))
        self.register_buffer("before", torch.tensor(start))
        self.version: int | None = None

    def previous(self, proxies: Tensor) -> Tensor:
        """The numbers before this step of the optimizer, told by the version of the proxies."""
        if proxies._version != self.version:
            self.before.copy_(self.now)
            self.version = proxies._version
        return self.before

    def follow(self, proxies: Tensor, measured: Tensor, rate: float) -> None:
        """Move the share `rate` of the way from the previous numbers to those measured on a batch."""
        self.now.copy_(self.previous(proxies).lerp(measured.to(self.now.dtype), rate))
