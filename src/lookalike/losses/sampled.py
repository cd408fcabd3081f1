"""Margin losses over some of the classes at a time."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from lookalike.losses._gradient import refuse_second_order
from lookalike.losses._margin_head import MarginHead


class SampledClasses(nn.Module):
    """A margin loss over a random share of the classes (Partial FC: An et al., 2021, arXiv:2010.05222).

    Each step takes the classes of the batch and so many random others that `rate * num_classes` take part, as
    if there were no more classes than these. Time and memory shrink with the rate, and so does the work of
    the optimiser, because the gradient of the proxies is sparse: wrap it in `RowSparse`. The papers (also An
    et al., 2022, arXiv:2203.15565) find 0.1 as good as all classes from some hundred thousand on, and better
    where labels are noisy: an image's class under a second name is rarely there to be pushed away.

    With a rate of 1 it is the loss it holds, with an ordinary gradient.

    Args:
        head: the loss over all classes.
        rate: share of the classes that take part in a step, above 0 and at most 1.
    """

    def __init__(self, head: MarginHead, rate: float = 0.1) -> None:
        super().__init__()
        check_head("SampledClasses", head)
        self.head, self.sample = head, ClassSample(rate)
        self.uses_length = head.uses_length

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Loss of raw embeddings [B, D] and class ids [B].

        Raises:
            ValueError: if shapes or labels are wrong.
        """
        if self.sample.rate == 1 or not len(embeddings):
            return self.head(embeddings, labels)
        labels = self.head._check(embeddings, labels)
        with torch.autocast(embeddings.device.type, enabled=False):
            proxies, rows = self.sample(self.head.proxies, labels, self.head.centers)
            return self.head.loss_of_rows(embeddings, proxies, rows, labels)


def samples_classes(loss: nn.Module) -> bool:
    """Whether some loss in `loss` gives sparse gradients, which want the optimiser `RowSparse`."""
    return any(isinstance(part, ClassSample) and part.rate < 1 for part in loss.modules())


class ClassSample(nn.Module):
    """Draws the classes of a step and takes their proxies, with a sparse gradient.

    The draws depend on a seed, which is drawn when this is built, and on how many there were before. Both are
    saved with the loss, so that processes draw the same and training can go on where it stopped.

    Args:
        rate: share of the classes, above 0 and at most 1; 1 takes all, with an ordinary gradient.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        if not 0 < rate <= 1:
            raise ValueError(
                f"ClassSample rate {rate}: must be a fraction of the classes, above 0 and at most 1"
            )
        self.rate, self.seed, self.num_draws = rate, int(torch.randint(2**62, ())), 0

    def forward(self, proxies: Tensor, own_classes: Tensor, centers: int = 1) -> tuple[Tensor, Tensor]:
        """Proxies [S * centers, D] of the drawn classes, and which of these classes is each image's own [B].

        Args:
            proxies: those of all classes, [C * centers, D].
            own_classes: class of each image, 0 to C - 1, or -1 if it is not among these classes; [B].
            centers: proxies for each class, side by side.
        """
        if self.rate == 1:
            return proxies, own_classes
        sampled_classes = self.draw(len(proxies) // centers, own_classes[own_classes >= 0])
        rows = torch.searchsorted(sampled_classes, own_classes).where(own_classes >= 0, own_classes)
        vectors = (
            sampled_classes[:, None] * centers + torch.arange(centers, device=own_classes.device)
        ).flatten()
        return TakeRows.apply(proxies, vectors), rows

    def draw(self, classes: int, needed: Tensor) -> Tensor:
        """The `needed` of 0 to `classes` - 1 and random others, ascending, `rate * classes` in all."""
        generator = torch.Generator(needed.device).manual_seed(self.seed + self.num_draws)
        self.num_draws += 1
        score = torch.rand(classes, generator=generator, device=needed.device)
        score[needed] = 2
        count = max(math.ceil(self.rate * classes), len(needed.unique()))
        return score.topk(count, sorted=False).indices.sort().values

    def get_extra_state(self) -> Tensor:
        """The seed and the number of draws."""
        return torch.tensor([self.seed, self.num_draws])

    def set_extra_state(self, state: Tensor) -> None:
        """Go on from there."""
        self.seed, self.num_draws = (int(number) for number in state)


class TakeRows(torch.autograd.Function):
    """`table[rows]` with a sparse gradient; `rows` ascend and name no row twice.

    An embedding with `sparse=True` has one too, but has to sort and add up what is in order already.
    """

    @staticmethod
    def forward(ctx: Any, table: Tensor, rows: Tensor) -> Tensor:
        """The rows."""
        ctx.save_for_backward(rows)
        ctx.shape = table.shape
        return table.index_select(0, rows)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor, None]:
        """The gradient of these rows."""
        refuse_second_order()
        (rows,) = ctx.saved_tensors
        gradient = torch.sparse_coo_tensor(
            rows[None], grad_outputs[0], ctx.shape, is_coalesced=True, check_invariants=False
        )
        return gradient, None


def check_head(owner: str, head: nn.Module) -> None:
    """Refuse a loss that cannot be computed over some of its classes.

    Raises:
        ValueError: naming the loss.
    """
    if not isinstance(head, MarginHead):
        raise ValueError(f"{owner}: a margin loss such as ArcFace or CosFace, got {type(head).__name__}")
