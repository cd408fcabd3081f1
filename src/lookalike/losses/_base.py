"""Base classes of losses, and the similarity and mean that they share.

A loss is `loss(embeddings [B, D], labels [B]) -> scalar`. Embeddings are passed unnormalised and are
normalised here, once. A batch that holds nothing to learn from gives a zero that is still connected to the
graph, so `backward` works.
"""

from collections.abc import Callable
from numbers import Integral

import torch
from torch import Tensor, nn

from lookalike.losses._cosine import Cosine, SelfCosine

Miner = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""`miner(sim, positive, negative) -> (positive, negative)`: narrows the two masks."""

UNKNOWN = -1
"""The label of an image whose class is not known, and of an empty memory row."""


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Cosine similarities [A, B] of the rows of `a` [A, D] and `b` [B, D].

    Always in float32 (float64 for float64), whatever autocast says. A zero vector is similar to nothing and
    gets no gradient.
    """
    dtype = torch.promote_types(torch.promote_types(a.dtype, b.dtype), torch.float32)
    with torch.autocast(a.device.type, enabled=False):
        return SelfCosine.apply(a.to(dtype)) if b is a else Cosine.apply(a.to(dtype), b.to(dtype))


def mean_over(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of the values where `mask` is true; a connected zero where it never is."""
    return values.masked_fill(~mask, 0).sum() / mask.sum().clamp_min(1)


def relations(
    embeddings: Tensor, labels: Tensor, extra: tuple[Tensor, Tensor] | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Similarity [B, R] of the batch to itself and to `extra`, and which pairs are positive and negative.

    The first B columns are the batch, so an image itself is the diagonal and is neither positive nor
    negative; nor is any pair with a label of -1. Labels are compared as integers.
    """
    others, names = embeddings, labels
    if extra is not None:
        dtype = torch.promote_types(embeddings.dtype, extra[0].dtype)
        others = torch.cat([embeddings.to(dtype), extra[0].to(dtype)])
        names = torch.cat([labels, _integers("extra", extra[1]).to(labels.dtype)])
    positive = labels[:, None] == names[None, :]
    negative = ~positive
    if (names == UNKNOWN).any():
        is_known = (labels != UNKNOWN)[:, None] & (names != UNKNOWN)[None, :]
        positive &= is_known
        negative &= is_known
    return cosine(embeddings, others), positive.fill_diagonal_(False), negative


def check_batch(owner: str, embeddings: Tensor, labels: Tensor) -> Tensor:
    """Refuse what no loss can read; the labels as int64.

    Labels of any integer type, bool, and floats that are whole and exact mean the same classes as int64.

    Raises:
        ValueError: if the shapes are not [B, D] and [B], or the labels are not integers.
        TypeError: if they are no tensors.
    """
    if not (isinstance(embeddings, Tensor) and isinstance(labels, Tensor)):
        types = f"{type(embeddings).__name__} and {type(labels).__name__}"
        raise TypeError(f"{owner}: embeddings and labels must be tensors, got {types}")
    if embeddings.ndim != 2 or labels.shape != embeddings.shape[:1]:
        shapes = f"{list(embeddings.shape)} and {list(labels.shape)}"
        raise ValueError(f"{owner}: embeddings must be [B, D] and labels [B], got {shapes}")
    return _integers(owner, labels)


def _integers(owner: str, labels: Tensor) -> Tensor:
    if labels.is_complex():
        raise ValueError(f"{owner}: labels must be integers, got {labels.dtype}")
    whole = labels.long()
    if labels.is_floating_point():
        exact = 1 / torch.finfo(labels.dtype).eps  # from twice this on, neighbours are more than 1 apart
        if not ((labels == whole) & (labels.abs() <= exact)).all():
            raise ValueError(
                f"{owner}: labels must be integers, got {labels.dtype} with fractions, NaN or values above "
                f"{exact:.0f}, which floats cannot represent exactly; pass integer labels"
            )
    elif labels.dtype == torch.uint64 and (whole < 0).any():
        raise ValueError(f"{owner}: labels must be integers below 2^63, got larger ones")
    return whole


def check_choice(owner: str, name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Refuse a word that is not one of `allowed`.

    Raises:
        ValueError: naming the owner, the value and what is allowed.
    """
    if value not in allowed:
        raise ValueError(f"{owner} {name} {value!r}: {name} must be one of {', '.join(allowed)}")


class PairLoss(nn.Module):
    """A loss that compares samples with samples. A subclass writes `pairs`.

    Args:
        miner: narrows the positive and negative pairs before the loss sees them; it gets no gradient.

    Attributes:
        uses_length: whether the length of the raw embeddings changes the loss; most see directions only.
        holds_fixed: whether the paper holds a part, such as weights, fixed when it takes the gradient, which
            so is not the derivative of the value.
        takes_mixed: whether an image may be of two classes in part, as MixUp makes them: then the loss is
            that of the first class and that of the second, weighed. It means nothing for pairs of images.
    """

    uses_length = False
    holds_fixed = False
    takes_mixed = False

    def __init__(self, miner: Miner | None = None) -> None:
        super().__init__()
        self.miner = miner

    def forward(
        self, embeddings: Tensor, labels: Tensor, extra: tuple[Tensor, Tensor] | None = None
    ) -> Tensor:
        """Loss of a batch.

        Args:
            embeddings: raw vectors, [B, D].
            labels: integers, [B]; -1 is unknown.
            extra: more vectors [M, D] and labels [M] that the batch is compared with (a memory).

        Raises:
            ValueError: if shapes or label type are wrong.
        """
        labels = check_batch(type(self).__name__, embeddings, labels)
        if not len(embeddings):
            return embeddings.float().sum()
        with torch.autocast(embeddings.device.type, enabled=False):
            sim, positive, negative = relations(embeddings, labels, extra)
            if self.miner is not None:
                positive, negative = self.miner(sim.detach(), positive, negative)
            return self.pairs(sim, positive, negative)

    def pairs(self, sim: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """Scalar loss of similarities [B, R] and the masks of the same shape that say which pairs count."""
        raise NotImplementedError


class ProxyLoss(nn.Module):
    """A loss that compares samples with learned vectors, the proxies. A subclass writes `classes`.

    Proxies start as standard normal numbers, so their length is about √dim and a step of Adam turns a proxy
    by about the learning rate, whatever `dim` and `num_classes` are: 1e-2 is careful, 1e-1 is bold. From a
    much shorter start 1e-2 swings all proxies to one side in a few steps, and ArcFace, for one, stays there.

    Args:
        num_classes: number of classes; labels are 0 to num_classes - 1.
        dim: embedding dimension.
        centers: proxies for each class; those of class c are rows c * centers to (c + 1) * centers - 1.

    Attributes:
        uses_length: whether the length of the raw embeddings changes the loss; most see directions only.
        holds_fixed: whether the paper holds a part, such as weights, fixed when it takes the gradient, which
            so is not the derivative of the value.
        takes_mixed: as in `PairLoss`; an image has a loss to each proxy, so it may.
        starts_at_means: whether the mean direction of its class is a good start for a proxy.
    """

    uses_length = False
    holds_fixed = False
    takes_mixed = True
    starts_at_means = True

    def __init__(self, num_classes: int, dim: int, centers: int = 1) -> None:
        super().__init__()
        for name, value in (("num_classes", num_classes), ("dim", dim), ("centers", centers)):
            if not isinstance(value, Integral) or value < 1:
                raise ValueError(
                    f"{type(self).__name__} {name} {value}: {name} must be a whole number, at least 1"
                )
        self.num_classes, self.dim, self.centers = num_classes, dim, centers
        self.proxies = nn.Parameter(torch.randn(num_classes * centers, dim))

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
            return self.classes(cosine(embeddings, self.proxies), labels)

    def classes(self, cos: Tensor, labels: Tensor) -> Tensor:
        """Scalar loss of the similarities [B, C * centers] to the proxies and the class ids [B]."""
        raise NotImplementedError

    def _check(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """The labels as int64, if they and the shapes fit."""
        owner = type(self).__name__
        labels = check_batch(owner, embeddings, labels)
        if embeddings.shape[1] != self.dim:
            raise ValueError(
                f"{owner}: built for embeddings of dimension {self.dim}, got {embeddings.shape[1]}"
            )
        if not len(labels):
            return labels
        low, high = (int(end) for end in labels.aminmax())
        if low == UNKNOWN:
            raise ValueError(
                f"{owner}: got the label -1 (unknown), but a loss with proxies needs every label"
            )
        if low < 0 or high >= self.num_classes:
            raise ValueError(
                f"{owner}: labels must be from 0 to {self.num_classes - 1}, got {low} to {high}; "
                "number the training classes consecutively from 0"
            )
        return labels
