"""MixUp and CutMix: training images made of two, and the labels of both."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn


class Mixed(NamedTuple):
    """Images [B, 3, H, W] made of two each, the class ids of both [B, 2], and the share of the first.

    Where nothing was mixed, the class ids are [B] and the share is 1.
    """

    images: Tensor
    labels: Tensor
    share: float


@dataclass(frozen=True)
class Mixing:
    """Mixes the images of a batch in pairs: MixUp (Zhang et al., 2018, arXiv:1710.09412) blends two pictures,
    CutMix (Yun et al., 2019, arXiv:1905.04899) puts a box of the second into the first.

    The share λ of the first picture is drawn once a batch from Beta(alpha, alpha); the box has the area 1 - λ
    and a centre anywhere, and λ then follows the part of it that lies inside. Where both are on, each batch
    takes one of the two by a coin. Random numbers depend on seed, epoch and batch alone: a run that goes on
    mixes as before, and all processes draw the same λ and box, while each pairs the images of its own share.

    Args:
        mixup: alpha of MixUp; 0 for none. Small ones (0.2) mostly leave one picture nearly whole, 1 draws
            λ evenly.
        cutmix: alpha of CutMix; 0 for none. The paper has 1.
        share: share of the batches that are mixed, from 0 to 1.
        seed: of the random numbers, at least 0.
    """

    mixup: float = 0.0
    cutmix: float = 0.0
    share: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse values that mean nothing.

        Raises:
            ValueError: naming the value and what is allowed.
        """
        for name in ("mixup", "cutmix"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"Mixing {name} {getattr(self, name)}: alpha is at least 0")
        if not 0 <= self.share <= 1:
            raise ValueError(f"Mixing share {self.share}: a share of the batches, from 0 to 1")

    def __bool__(self) -> bool:
        return self.share > 0 and (self.mixup > 0 or self.cutmix > 0)

    def __call__(self, images: Tensor, labels: Tensor, epoch: int, batch: int) -> Mixed:
        """The batch, mixed, or as it was where this one is left alone.

        Args:
            images: [B, 3, H, W], uint8 or float; they are left as they are.
            labels: class ids, [B].
            epoch: from 1.
            batch: of this epoch.
        """
        numbers = np.random.default_rng([self.seed, epoch, batch])
        if not self or numbers.random() >= self.share:
            return Mixed(images, labels, 1.0)
        cut = self.cutmix > 0 and (not self.mixup or numbers.random() < 0.5)
        alpha = self.cutmix if cut else self.mixup
        share, centre = float(numbers.beta(alpha, alpha)), numbers.random(2)
        order = torch.from_numpy(numbers.permutation(len(images))).to(images.device)
        if cut:
            mixed, share = paste(images, images[order], share, (centre[0], centre[1]))
        else:
            mixed = blend(images, images[order], share)
        return Mixed(mixed, torch.stack([labels, labels[order]], dim=1), share)


def blend(first: Tensor, second: Tensor, share: float) -> Tensor:
    """`share * first + (1 - share) * second`, in the type of the images; uint8 is rounded."""
    mixed = torch.lerp(second.float(), first.float(), share)
    return mixed.to(first.dtype) if first.is_floating_point() else mixed.round().to(first.dtype)


def paste(first: Tensor, second: Tensor, share: float, centre: tuple[float, float]) -> tuple[Tensor, float]:
    """`first` with a box of `second` in its place, and which share of the area is still of `first`.

    Args:
        first: images [B, 3, H, W]; they are left as they are.
        second: the same.
        share: area outside the box, if it lies inside the picture as a whole.
        centre: of the box, as shares of height and width; what of the box lies outside is cut off.
    """
    side = math.sqrt(1 - share)
    (top, bottom), (left, right) = (
        _box_span(center, side, length) for center, length in zip(centre, first.shape[-2:], strict=True)
    )
    mixed = first.clone()
    mixed[..., top:bottom, left:right] = second[..., top:bottom, left:right]
    area = (bottom - top) * (right - left)
    return mixed, 1 - area / (first.shape[-2] * first.shape[-1])


def _box_span(center: float, side: float, length: int) -> tuple[int, int]:
    """First pixel and end of a box along one axis, cut at the border."""
    size, middle = int(length * side), int(length * center)
    return max(0, middle - size // 2), min(length, middle - size // 2 + size)


def takes_mixed(loss: nn.Module) -> bool:
    """Whether a loss, and all that it holds, may be told that an image is partly of one class.

    Losses say so by an attribute `takes_mixed`; one that says nothing, and holds none that does, may not.
    """
    supported = [part.takes_mixed for part in loss.modules() if hasattr(part, "takes_mixed")]
    return bool(supported) and all(supported)
