"""Base of classification losses with a margin: cross-entropy over cosines, and its options."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from lookalike.errors import check_finite
from lookalike.losses._base import ProxyLoss, cosine
from lookalike.losses._logsumexp import Change, TargetLogSumExp, target_and_logsumexp

Scale = float | Literal["auto"]
"""Of the cosines; `auto` is `√2 ln(num_classes - 1)` (AdaCos, arXiv:1905.00292), at least 1."""


@dataclass(frozen=True)
class MarginOptions:
    """Variations that fit most margin losses. Each costs nothing when it is off, as all are here.

    Attributes:
        start: share of the margin at the start of training, from 0 (none) to 1 (a constant margin).
        grow_from: share of training up to which the margin stays at `start`.
        grow_until: share of training from which the whole margin counts; it grows evenly in between.
        rare_margin: above 0, a class of n training images has the margin `rare_margin * n^-rare_power +
            common_margin` instead of the loss's own (Ha et al., 2020, arXiv:2010.05350); needs
            `class_counts`.
        rare_power: how fast that falls with n.
        common_margin: what it falls to.
        smoothing: share of the target that goes to all classes evenly, on the logits with their margin.
        focal: above 0, each image's loss is multiplied by `(1 - p)^focal`, with p the probability of its
            class (Lin et al., 2017, arXiv:1708.02002).
        skip_above: other classes with a larger cosine to an image are left out for it: likely the same class
            under a second name. None keeps all.
    """

    start: float = 1.0
    grow_from: float = 0.0
    grow_until: float = 1.0
    rare_margin: float = 0.0
    rare_power: float = 0.25
    common_margin: float = 0.0
    smoothing: float = 0.0
    focal: float = 0.0
    skip_above: float | None = None

    def __post_init__(self) -> None:
        """Refuse values that mean nothing.

        Raises:
            ValueError: naming the value and what is allowed.
        """
        for each in fields(self):
            value = getattr(self, each.name)
            if value is not None:
                check_finite("MarginOptions", **{each.name: value})
        _require("start", self.start, 0 <= self.start <= 1, "from 0 to 1")
        growth = 0 <= self.grow_from <= self.grow_until <= 1
        _require("grow_from", self.grow_from, growth, f"from 0 to grow_until ({self.grow_until}), at most 1")
        for name in ("rare_margin", "rare_power", "common_margin", "focal"):
            _require(name, getattr(self, name), getattr(self, name) >= 0, "at least 0")
        _require("smoothing", self.smoothing, 0 <= self.smoothing < 1, "from 0 to below 1")
        if self.skip_above is not None:
            _require("skip_above", self.skip_above, -1 < self.skip_above <= 1, "a cosine above -1, or null")

    def share(self, done: float) -> float:
        """Share of the margin that counts when this share of training is done."""
        if done >= self.grow_until:
            return 1.0
        grown = max(0.0, done - self.grow_from) / max(self.grow_until - self.grow_from, 1e-12)
        return self.start + (1 - self.start) * grown

    def refuse(self, owner: str, *names: str) -> None:
        """Refuse options that make no sense for a loss.

        Raises:
            ValueError: naming the first of them that is not at its default.
        """
        for name in names:
            if getattr(self, name) != getattr(MarginOptions, name):
                raise ValueError(f"{owner} option {name} {getattr(self, name)}: {owner} does not support it")

    def margins(self, owner: str, class_counts: Sequence[int] | None, num_classes: int) -> Tensor | None:
        """The margin of each class [C], or None if all have the loss's own.

        Raises:
            ValueError: if the number of images of each class is wanted but not known.
        """
        if not self.rare_margin:
            return None
        if class_counts is None or len(class_counts) != num_classes or min(class_counts) < 1:
            raise ValueError(
                f"{owner} rare_margin {self.rare_margin}: needs class_counts, the number of training images "
                f"(at least 1) of each of the {num_classes} classes"
            )
        counts = torch.tensor(class_counts, dtype=torch.float32)
        return self.rare_margin * counts.pow(-self.rare_power) + self.common_margin


def _require(name: str, value: float, right: bool, allowed: str) -> None:
    if not right:
        raise ValueError(f"MarginOptions {name} {value}: {allowed}")


class MarginHead(ProxyLoss):
    """Cross-entropy over `scale * cos`, with a changed cosine for the own class. A subclass writes `target`.

    For each image `log(1 + exp(rest - scale * target))` with `rest = log Σ exp(scale * cos)` over the other
    classes; mean over the batch. Besides the gradient of the proxies, one matrix [num_classes, B] is kept.

    Args:
        num_classes: number of classes.
        dim: embedding dimension.
        margin: what `margins` gives for every class, before it grows.
        scale: of the cosines, or `auto`.
        options: variants, see `MarginOptions`.
        class_counts: number of training images of each class, for margins by class.
        centers: proxies for each class.

    Attributes:
        compare: `target_and_logsumexp`, or what does the same where the classes are divided among processes.
    """

    class_margins: Tensor | None

    def __init__(
        self,
        num_classes: int,
        dim: int,
        margin: float,
        scale: Scale,
        options: MarginOptions | None = None,
        class_counts: Sequence[int] | None = None,
        centers: int = 1,
    ) -> None:
        super().__init__(num_classes, dim, centers)
        owner = type(self).__name__
        check_finite(owner, margin=margin)
        if scale == "auto":
            scale = max(1.0, math.sqrt(2) * math.log(max(num_classes - 1, 1)))
        if isinstance(scale, str) or not 0 < scale < math.inf:
            raise ValueError(f"{owner} scale {scale}: a number above 0, or auto")
        self.margin, self.scale, self.options = margin, float(scale), options or MarginOptions()
        own_margins = self.options.margins(owner, class_counts, num_classes)
        self.register_buffer("class_margins", own_margins, persistent=False)
        self.compare = target_and_logsumexp
        self.set_progress(0.0)

    def set_progress(self, done: float) -> None:
        """Let the margin grow; `done` is the share of training that is done, from 0 to 1."""
        self.share = self.options.share(done)

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Loss of a batch.

        Args:
            embeddings: raw vectors, [B, D].
            labels: class ids from 0 to num_classes - 1, [B].

        Raises:
            ValueError: if shapes or labels are wrong; a proxy loss needs every label known.
        """
        labels = self._check(embeddings, labels)
        if not len(embeddings):
            return embeddings.float().sum() + sum(0 * parameter.sum() for parameter in self.parameters())
        with torch.autocast(embeddings.device.type, enabled=False):
            return self.loss_of_rows(embeddings, self.proxies, labels, labels)

    def loss_of_rows(self, embeddings: Tensor, proxies: Tensor, rows: Tensor, labels: Tensor) -> Tensor:
        """Loss over some classes only.

        Args:
            embeddings: raw vectors, [B, D].
            proxies: those of the C classes to compare with, [C * centers, D].
            rows: which of them is the own class of each embedding, 0 to C - 1, [B].
            labels: class ids from 0 to num_classes - 1, [B].
        """
        embeddings = embeddings.to(torch.promote_types(embeddings.dtype, torch.float32))
        length = torch.linalg.vector_norm(embeddings, dim=1)
        cosines = self.cosines(embeddings, proxies, rows, labels, length)
        return self.loss_of_cosines(cosines, labels, length)

    def cosines(
        self, embeddings: Tensor, proxies: Tensor, rows: Tensor, labels: Tensor, length: Tensor
    ) -> TargetLogSumExp:
        """What `loss_of_cosines` needs of these classes; `rows` may be -1 where the own class is
        elsewhere.
        """
        return self.compare(
            embeddings,
            proxies,
            rows,
            self.logit_scale(length),
            self.options.skip_above,
            self.centers,
            self.options.smoothing > 0,
            self.change(labels),
        )

    def loss_of_cosines(self, cosines: TargetLogSumExp, labels: Tensor, length: Tensor) -> Tensor:
        """Loss, given the cosines, the class ids [B] and the lengths of the raw embeddings [B]."""
        scale = self.logit_scale(length)
        logit = scale * self.target(cosines.target, labels, length)
        gap = cosines.rest - logit
        values = F.softplus(gap)
        if cosines.mean is not None:
            others = self.options.smoothing * (self.num_classes - 1) / self.num_classes
            values = values + others * (logit - scale * cosines.mean)
        if self.options.focal:
            values = values * gap.sigmoid().clamp_min(1e-12).pow(self.options.focal)
        return values.mean()

    def target(self, target_cosine: Tensor, labels: Tensor, length: Tensor) -> Tensor:
        """The cosine that counts for the own class, [B].

        Args:
            target_cosine: cosine to the own class, [B].
            labels: class ids, [B].
            length: length of the raw embeddings, [B].
        """
        raise NotImplementedError

    def logit_scale(self, length: Tensor) -> Tensor | float:
        """What cosines are multiplied with, a number or [B]."""
        return self.scale

    def class_scores(self, embeddings: Tensor) -> Tensor:
        """Logits [B, num_classes] of raw embeddings [B, D], without the margin: what the head is sure of."""
        cos = cosine(embeddings, self.proxies)
        if self.centers > 1:
            cos = cos.unflatten(1, (self.num_classes, self.centers)).amax(dim=2)
        length = torch.linalg.vector_norm(embeddings.to(cos.dtype), dim=1)
        return torch.as_tensor(self.logit_scale(length), device=cos.device).reshape(-1, 1) * cos

    def change(self, labels: Tensor) -> Change | None:
        """What is done to the cosines of the other classes."""
        return None

    def margins(self, target_cosine: Tensor, labels: Tensor) -> Tensor:
        """The margin of each image now, like `target_cosine`."""
        if self.class_margins is None:
            return torch.full_like(target_cosine, self.margin * self.share)
        return self.class_margins.to(target_cosine.dtype)[labels] * self.share


def sine_of(cos: Tensor) -> Tensor:
    """The sine of an angle from 0 to π; never quite 0, so that its gradient is finite."""
    return (1 - cos.square()).clamp_min(1e-12).sqrt()


def angle_of(cos: Tensor) -> Tensor:
    """The angle from 0 to π of a cosine, with a finite gradient at both ends."""
    return torch.atan2(sine_of(cos), cos)


def plus_angle(cos: Tensor, margin: Tensor) -> Tensor:
    """`cos(θ + margin)` for `cos θ`; beyond θ = π - margin `cos θ - margin sin(margin)`, which falls on."""
    shifted = cos * margin.cos() - sine_of(cos) * margin.sin()
    return torch.where(cos > -margin.cos(), shifted, cos - margin * margin.sin())


def falling_cosine(angle: Tensor) -> Tensor:
    """The cosine, continued beyond π so that it falls: `(-1)^k cos(angle) - 2k` with k = floor(angle / π)."""
    turns = (angle.detach() / math.pi).floor()
    return (1 - 2 * turns.remainder(2)) * angle.cos() - 2 * turns


def check_angle(owner: str, margin: float) -> None:
    """Refuse a margin that is no angle from 0 to π.

    Raises:
        ValueError: naming the margin and what is allowed.
    """
    if not 0 <= margin < math.pi:
        raise ValueError(f"{owner} margin {margin}: an angle in radians, from 0 to below {math.pi:.4f}")
