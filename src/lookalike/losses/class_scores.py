"""Finding losses with class scores inside other losses."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from torch import Tensor, nn

from lookalike.losses.matryoshka import Matryoshka
from lookalike.losses.modifiers import Terms
from lookalike.losses.sampled import SampledClasses
from lookalike.losses.uniface import UniFace


class Scorer(NamedTuple):
    """A loss with class scores inside another.

    Attributes:
        weight: its total weight.
        dim: number of leading dimensions that it uses; None for all.
        scores: raw embeddings [B, dim] to logits [B, C], whose softmax is the probability of each class.
    """

    weight: float
    dim: int | None
    scores: Callable[[Tensor], Tensor]


def losses_with_scores(loss: nn.Module, weight: float = 1.0, dim: int | None = None) -> Iterator[Scorer]:
    """The losses in `loss` that have class scores (a method `class_scores`), with a weight above 0.

    Losses that use only some of the classes at a time are excluded, and so is UniFace, whose scores are
    independent binary decisions.
    """
    scores = getattr(loss, "class_scores", None)
    if isinstance(loss, Terms):
        for name, part in loss.losses.items():
            yield from losses_with_scores(part, weight * loss.weights[name], dim)
    elif isinstance(loss, Matryoshka):
        total = sum(loss.weights.values())
        for length, share in loss.weights.items():
            yield from losses_with_scores(loss.losses[str(length)], weight * share / total, length)
    elif isinstance(loss, SampledClasses) and loss.sample.rate == 1:
        yield from losses_with_scores(loss.head, weight, dim)
    elif weight and callable(scores) and not isinstance(loss, UniFace):
        yield Scorer(weight, dim, scores)
