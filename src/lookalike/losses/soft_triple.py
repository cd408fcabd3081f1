"""SoftTriple loss."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from lookalike.errors import check_finite
from lookalike.losses._base import ProxyLoss, cosine
from lookalike.losses._cosine import inverse_norm
from lookalike.losses._fused_proxy import Gradients, blocks, cross_entropy, proxy_loss, split_blocks
from lookalike.losses._gradient import refuse_second_order

MIN_DISTANCE = 1e-5
"""Added to a squared distance, as the authors do: the root is infinitely steep where two centres meet."""


class SoftTriple(ProxyLoss):
    """Softmax over classes that have several centres each (Qian et al., 2019, arXiv:1909.05235).

    With s_ck the cosine to centre k of class c, `S_c = Σ_k softmax_k(s_ck / gamma) s_ck` says how near the
    class is, and the loss is `-log(exp(la (S_y - margin)) / (exp(la (S_y - margin)) + Σ_{c≠y} exp(la S_c)))`,
    mean over images. Added to it is `tau * Σ_c Σ_{j<k} √(2 - 2 w_cj · w_ck) / (C K (K - 1))` with w the
    centres at length one: it draws those of a class together, so that it keeps no more than it needs.

    Equal to pytorch-metric-learning's SoftTripleLoss, which has `tau` as a SparseCentersRegularizer that
    compares the centres of all classes; it adds next to nothing under the root where 1e-5 is added here, as
    by the authors.

    Args:
        num_classes: number of classes.
        dim: embedding dimension.
        centers: of each class.
        la: scale of the logits, λ in the paper.
        gamma: a cosine; smaller lets the nearest centre decide alone.
        margin: a cosine, taken from the true class.
        tau: weight of the distances between centres.
    """

    def __init__(
        self,
        num_classes: int,
        dim: int,
        centers: int = 10,
        la: float = 20.0,
        gamma: float = 0.1,
        margin: float = 0.01,
        tau: float = 0.2,
    ) -> None:
        check_finite("SoftTriple", centers=centers, la=la, gamma=gamma, margin=margin, tau=tau)
        super().__init__(num_classes, dim, centers)
        for name, value in (("la", la), ("gamma", gamma)):
            if value <= 0:
                raise ValueError(f"SoftTriple {name} {value}: {name} must be above 0")
        if tau < 0:
            raise ValueError(f"SoftTriple tau {tau}: tau must be at least 0")
        self.la, self.gamma, self.margin, self.tau = la, gamma, margin, tau

    @property
    def pull(self) -> float:
        """What one distance between two centres of a class costs."""
        return self.tau / (self.num_classes * self.centers * (self.centers - 1)) if self.centers > 1 else 0.0

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Loss of raw embeddings [B, D] and class ids [B]."""
        return proxy_loss(self, embeddings, labels, partial(_CenterLoss.apply, self))

    def class_scores(self, embeddings: Tensor) -> Tensor:
        """Logits [B, num_classes] of raw embeddings [B, D], without the margin."""
        cos = cosine(embeddings, self.proxies).unflatten(1, (self.num_classes, self.centers))
        return self.la * ((cos / self.gamma).softmax(dim=2) * cos).sum(dim=2)

    def rule(self, cos: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Loss of the classes' cosines [C, B], which are overwritten, and its derivative."""
        return cross_entropy(cos, labels, self.la, self.margin)


class _CenterLoss(torch.autograd.Function):
    """The loss of embeddings [B, D] and centres [C * K, D].

    Of the size [C * K, B] there is one matrix, kept for the gradient and made by blocks of classes that fit
    the cache: what a centre's cosine adds to the nearness of its class.
    """

    @staticmethod
    def forward(ctx: Any, loss: SoftTriple, embeddings: Tensor, centers: Tensor, labels: Tensor) -> Tensor:
        """The loss; its slope [C, B] is kept too."""
        length, inverse = inverse_norm(embeddings), inverse_norm(centers)
        unit = embeddings * length
        cos = unit.new_empty(loss.num_classes, len(unit))
        adds = unit.new_empty(len(centers), len(unit))
        center_distances = unit.new_empty(loss.num_classes if loss.pull else 0, loss.centers, loss.centers)
        for part, classes in _blocks(loss, unit):
            sharp = torch.mm(centers[part], unit.T, out=adds[part]).mul_(inverse[part] / loss.gamma)
            sharp = sharp.view(-1, loss.centers, len(unit))
            share = sharp.softmax(dim=1)
            similarity = (share * sharp).sum(dim=1)
            sharp.sub_((similarity - 1)[:, None]).mul_(share)
            torch.mul(similarity, loss.gamma, out=cos[classes])
            if loss.pull:
                center_distances[classes] = _distances(centers[part] * inverse[part], loss.centers)
        value, slope = loss.rule(cos, labels)
        ctx.save_for_backward(unit, length, centers, inverse, slope, adds, center_distances)
        ctx.loss, ctx.pull = loss, loss.pull
        return value + center_distances.sum() * (loss.pull / 2)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor | None, ...]:
        """What was kept stays as it is, so this can run again."""
        refuse_second_order()
        unit, length, centers, inverse, slope, adds, center_distances = ctx.saved_tensors
        loss, (upstream,) = ctx.loss, grad_outputs
        grads = Gradients(unit, centers, inverse, ctx.needs_input_grad[1:3])
        with torch.autocast(unit.device.type, enabled=False):
            for part, classes in _blocks(loss, unit):
                turn = adds[part].view(-1, loss.centers, len(unit)) * (slope[classes] * upstream)[:, None]
                grads.add(part, turn.flatten(0, 1).mul_(inverse[part]))
                if ctx.pull and grads.proxies is not None:
                    draw = _draw(centers[part] * inverse[part], center_distances[classes])
                    grads.proxies[part].addcmul_(draw, inverse[part] * (ctx.pull * upstream))
            return None, grads.embedding_gradient(length), grads.proxies, None


def _blocks(loss: SoftTriple, unit: Tensor) -> Iterator[tuple[slice, slice]]:
    """Slices of the centres, and of the classes that these are of, that make up one block of work."""
    for part in blocks(len(loss.proxies), unit, loss.centers):
        yield part, slice(part.start // loss.centers, part.stop // loss.centers)


def _distances(unit: Tensor, each: int) -> Tensor:
    """Distances [n, K, K] between unit vectors [n * K, D] of the same class, 0 to itself."""
    group = unit.view(-1, each, unit.shape[1])
    distance = torch.bmm(group, group.mT).mul_(-2).add_(2 + MIN_DISTANCE).clamp_min_(MIN_DISTANCE).sqrt_()
    distance.diagonal(dim1=1, dim2=2).zero_()
    return distance


def _draw(unit: Tensor, distance: Tensor) -> Tensor:
    """Derivative [n * K, D] of the sum of the distances, by the unit vectors and at right angles to them."""
    closer = distance.reciprocal().neg_()
    closer.diagonal(dim1=1, dim2=2).zero_()
    return split_blocks(torch.bmm(closer, unit.view(len(distance), -1, unit.shape[1])).flatten(0, 1), unit)
