"""Sophia-G: momentum divided by a running curvature, and cut off (Liu et al., 2023, arXiv:2305.14342)."""

import logging
from collections.abc import Callable
from typing import Annotated, Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from accelerate import Accelerator
from annotated_types import Ge, Gt, Lt
from torch import Tensor, nn

from lookalike.errors import ConfigError
from lookalike.losses.class_scores import Scorer, losses_with_scores
from lookalike.losses.modifiers import AcrossProcesses, Terms
from lookalike.training.accumulate import backward_in_chunks, preserve_buffers

log = logging.getLogger(__name__)

WITH_SCORES = ("softmax", "normalized_softmax", "proxy_nca_pp", "soft_triple", "arcface", "cosface")
"""Some losses that have class scores, to name in a message."""
Beta = Annotated[float, Ge(0), Lt(1)]


class Sophia(torch.optim.Optimizer):
    """Algorithm 3 of the paper: `θ ← θ (1 - lr · decay)`, then `θ ← θ - lr · clip(m / max(rho · h, eps), 1)`.

    m is the running mean of the gradient. h is the running mean of estimates of the curvature (the diagonal
    of the Gauss-Newton matrix), which somebody else has to supply with `update_curvature` when one is
    `is_due`: in training `Curvature` does. Where h is not known yet, every number moves by the full rate.

    h is the curvature of the mean loss itself, `B · ĝ ⊙ ĝ` as in algorithm 2; the authors' code leaves out B
    there and multiplies by it here, so that its rho is this one.

    Args:
        params: parameters or groups of them.
        lr: learning rate: the longest step of a number.
        betas: memory of m and of h.
        rho: a number whose gradient is above rho times its curvature moves by the full rate.
        weight_decay: decoupled from the gradient.
        eps: least `rho · h`.
        every: steps between two estimates of the curvature.

    Raises:
        ValueError: a value is out of its range.
    """

    def __init__(
        self,
        params: Any,
        lr: Annotated[float, Ge(0)] = 1e-4,
        betas: tuple[Beta, Beta] = (0.965, 0.99),
        rho: Annotated[float, Gt(0)] = 0.04,
        weight_decay: Annotated[float, Ge(0)] = 1e-4,
        eps: Annotated[float, Gt(0)] = 1e-12,
        every: Annotated[int, Ge(1)] = 10,
    ) -> None:
        _require("lr", lr, lr >= 0, "at least 0")
        _require("betas", betas, len(betas) == 2 and all(0 <= b < 1 for b in betas), "two, from 0 to below 1")
        _require("rho", rho, rho > 0, "above 0")
        _require("weight_decay", weight_decay, weight_decay >= 0, "at least 0")
        _require("eps", eps, eps > 0, "above 0")
        _require("every", every, every >= 1, "at least 1")
        defaults = {"betas": tuple(betas), "rho": rho, "weight_decay": weight_decay, "eps": eps}
        super().__init__(params, {"lr": lr, **defaults, "every": every, "age": every})

    @property
    def is_due(self) -> bool:
        """Whether the curvature is to be estimated before the next step: the first, then every so many."""
        return any(group["age"] >= group["every"] for group in self.param_groups)

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:  # pyrefly: ignore[bad-override]
        """One step with the gradients that are there."""
        value = None
        if closure is not None:
            with torch.enable_grad():
                value = closure()
        for group in self.param_groups:
            group["age"] += 1
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            if parameters:
                self._step(group, parameters)
        return value

    def _step(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        means = [self._parameter_state(parameter)["exp_avg"] for parameter in parameters]
        torch._foreach_lerp_(means, [p.grad for p in parameters if p.grad is not None], 1 - group["betas"][0])
        size = torch._foreach_mul(
            [self._parameter_state(parameter)["curvature"] for parameter in parameters], group["rho"]
        )
        torch._foreach_clamp_min_(size, group["eps"])
        move = torch._foreach_div(means, size)
        torch._foreach_clamp_min_(move, -1.0)
        torch._foreach_clamp_max_(move, 1.0)
        torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(parameters, move, alpha=-group["lr"])

    @torch.no_grad()
    def update_curvature(self, count: int, scale: float = 1.0) -> bool:
        """Take in an estimate: the gradients that are there, of labels drawn from the model's own scores.

        Args:
            count: images that the loss was the mean of, B.
            scale: what the gradients were multiplied with, as fp16 does.

        Returns:
            Whether it was taken in; not if a gradient is infinite or no number.
        """
        gradients = [
            (parameter, group["betas"][1])
            for group in self.param_groups
            for parameter in group["params"]
            if parameter.grad is not None
        ]
        length = torch.nn.utils.get_total_norm([parameter.grad for parameter, _ in gradients])
        if not torch.isfinite(length):
            return False
        for parameter, beta in gradients:
            gradient = parameter.grad / scale
            self._parameter_state(parameter)["curvature"].mul_(beta).addcmul_(
                gradient, gradient, value=(1 - beta) * count
            )
        for group in self.param_groups:
            group["age"] = 0
        return True

    def _parameter_state(self, parameter: Tensor) -> dict[str, Tensor]:
        """The state of a parameter, which starts at zero."""
        state = self.state[parameter]
        for name in ("exp_avg", "curvature"):
            if name not in state:
                state[name] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
        return state


def _require(name: str, value: object, right: bool, allowed: str) -> None:
    if not right:
        raise ValueError(f"Sophia {name} {value}: {allowed}")


class SampledLabelLoss(nn.Module):
    """Cross-entropy of labels that are drawn from a loss's own class scores, one for each image.

    With g the gradient of this mean over B images, the mean of `B · g ⊙ g` over the draws is the diagonal of
    the Gauss-Newton matrix (Gauss-Newton-Bartlett estimator; Liu et al., 2023, arXiv:2305.14342, algorithm
    2). Margins are left out: with them the classes of an image have no scores in common. Several losses are
    added with the root of their weights and draws of their own, so that their curvatures are added with
    their weights; losses without class scores are left out.

    Args:
        loss: what is trained with.

    Attributes:
        count: images in the last batch, B.

    Raises:
        ConfigError: no part of the loss has class scores.
    """

    def __init__(self, loss: Terms) -> None:
        super().__init__()
        self.scorers, self.count = list(losses_with_scores(loss)), 0
        if not self.scorers:
            raise ConfigError(
                "optimizer=sophia_g: draws labels from the scores that a loss gives all classes, and "
                f"{', '.join(loss.losses)} has none. Take one that has, such as {', '.join(WITH_SCORES)} "
                "(with class_sample=1 and shard_classes=false), or another optimizer"
            )

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Loss of raw embeddings [B, D]; the labels are not looked at."""
        self.count = len(embeddings)
        with torch.autocast(embeddings.device.type, enabled=False):
            return torch.stack([self._scores_of(scorer, embeddings) for scorer in self.scorers]).sum()

    def _scores_of(self, scorer: Scorer, embeddings: Tensor) -> Tensor:
        scores = scorer.scores(embeddings[:, : scorer.dim])
        return scorer.weight**0.5 * F.cross_entropy(scores, _sample_labels(scores.detach()))


def _sample_labels(scores: Tensor) -> Tensor:
    """A class for each row of logits [B, C], equal in all processes; arbitrary where scores are NaN."""
    labels = scores.softmax(dim=1).nan_to_num(nan=1.0).multinomial(1)[:, 0]
    if dist.is_initialized() and dist.get_world_size() > 1:
        dist.broadcast(labels, 0)
    return labels


class Curvature:
    """Estimates the curvature for an optimiser that wants it; for all others nothing is ever due.

    Args:
        optimizer: the optimiser as it was built, before Accelerate or anything else wraps it.
        loss: what is trained with.
        accelerator: does the backward pass, and says how processes share gradients.

    Raises:
        ConfigError: the optimiser wants curvature and no part of the loss has class scores.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, loss: Terms, accelerator: Accelerator) -> None:
        self.sophia = optimizer if isinstance(optimizer, Sophia) else None
        self.label_loss = SampledLabelLoss(loss) if self.sophia else None
        self.accelerator = accelerator
        silent = [name for name, part in loss.losses.items() if not any(losses_with_scores(part))]
        if self.sophia and silent:
            log.warning("sophia_g: the curvature leaves out %s, which has no class scores", ", ".join(silent))

    @property
    def is_due(self) -> bool:
        """Whether to `measure` before the gradients of the next step; there must be none yet."""
        return self.sophia is not None and self.sophia.is_due

    def measure(self, features: nn.Module, images: Tensor, chunk: int | None) -> None:
        """Estimate the curvature on a batch, and leave no gradient and no batch statistics behind.

        Args:
            features: images [B, …] to embeddings [B, D], as in a step.
            images: the batch, of this process.
            chunk: images in memory at once, as in a step.
        """
        if self.sophia is None or self.label_loss is None:
            return
        several = self.accelerator.num_processes > 1
        criterion = AcrossProcesses(self.label_loss) if several else self.label_loss
        labels = torch.zeros(len(images), dtype=torch.long, device=images.device)
        with preserve_buffers(features):
            backward_in_chunks(features, criterion, images, [labels], chunk or len(images), self.accelerator)
        scaler = self.accelerator.scaler
        scale = scaler.get_scale() if scaler is not None else 1.0
        self.sophia.update_curvature(
            self.label_loss.count, scale / self.accelerator.gradient_accumulation_steps
        )
        self.sophia.zero_grad()
