"""The curvature that Sophia-G divides by, estimated from labels that the model draws itself."""

import logging
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from lookalike.errors import ConfigError
from lookalike.losses.class_scores import Scorer, losses_with_scores
from lookalike.losses.modifiers import AcrossProcesses, Terms
from lookalike.training.accumulate import backward_in_chunks, preserve_buffers
from lookalike.training.sophia import Sophia

if TYPE_CHECKING:
    from accelerate import Accelerator

log = logging.getLogger(__name__)

WITH_SCORES = ("softmax", "normalized_softmax", "proxy_nca_pp", "soft_triple", "arcface", "cosface")
"""Some losses that have class scores, to name in a message."""


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
    """A class for each row of logits [B, C], the same in all processes; any, where scores are no numbers."""
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

    def __init__(self, optimizer: torch.optim.Optimizer, loss: Terms, accelerator: "Accelerator") -> None:
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
