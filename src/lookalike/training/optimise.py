"""What the optimiser is given, and what happens around a step."""

import copy
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lookalike.errors import ConfigError
from lookalike.model.embedder import EmbeddingModel

if TYPE_CHECKING:
    from lookalike.training.loop import Plan


def parameter_groups(model: EmbeddingModel, loss: nn.Module, plan: "Plan") -> list[dict[str, Any]]:
    """Backbone, head and loss, each with its own rate; no weight decay on vectors, scales and proxies.

    Raises:
        ConfigError: every parameter is frozen.
    """
    head = [*model.head.parameters(), *model.pool.parameters()]
    parts = {
        "backbone": (list(model.backbone.parameters()), plan.backbone_lr),
        "head": (head, plan.lr),
        "loss": (list(loss.parameters()), plan.loss_lr),
    }
    groups = []
    for name, (parameters, rate) in parts.items():
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        matrices = [p for p in trained if p.ndim > 1 and name != "loss"]
        rest = [p for p in trained if p.ndim <= 1 or name == "loss"]
        if matrices:
            groups.append({"name": name, "params": matrices, "lr": rate})
        if rest:
            groups.append({"name": name, "params": rest, "lr": rate, "weight_decay": 0.0})
    if not groups:
        raise ConfigError("freeze: nothing is left to train; unfreeze a part, such as unfreeze=[head]")
    return groups


def set_rates(optimizer: torch.optim.Optimizer, rates: list[float], factor: float) -> None:
    """Each group's full rate times `factor`."""
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate * factor


def named_rates(optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """The rates now, as history columns."""
    return {f"lr_{group['name']}": group["lr"] for group in optimizer.param_groups}


def shrink(images: Tensor, size: int) -> Tensor:
    """Images [B, 3, H, W] in 0…1 as float, resized to `size` if it is not 0 and smaller."""
    if not size or size >= images.shape[-1]:
        return images
    return F.interpolate(images.float() / 255, size=(size, size), mode="bilinear", antialias=True)


class Average:
    """A copy of the model whose weights trail the trained ones (exponential moving average).

    The decay rises from 0.1 to `decay` over the first steps, so that the start is soon forgotten.
    """

    def __init__(self, model: EmbeddingModel, decay: float):
        self.model, self.decay, self.steps = copy.deepcopy(model).eval(), decay, 0

    @torch.no_grad()
    def update(self, model: EmbeddingModel) -> None:
        """Move towards the weights and statistics of `model`."""
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        self.steps += 1
        for mine, theirs in zip(self.model.state_dict().values(), model.state_dict().values(), strict=True):
            if mine.dtype.is_floating_point:
                mine.lerp_(theirs, 1 - decay)
            else:
                mine.copy_(theirs)
