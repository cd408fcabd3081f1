"""Every positive pair against all negatives of its anchor, in O(B·R) memory for B anchors and R rows."""

import torch.nn.functional as F
from torch import Tensor

from lookalike.losses._gradient import log_sum_exp


def tuplet_mean(pull: Tensor, push: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """Mean of `log(1 + Σ_n exp(push(a, n) - pull(a, p)))` over the positive pairs that have a negative.

    The sum over negatives is the same for all positives of an anchor, so it is taken once for each anchor.

    Args:
        pull: logits that positive pairs bring, [B, R].
        push: logits that negative pairs bring, [B, R].
        positive: which pairs are positive, [B, R].
        negative: which pairs are negative, [B, R].
    """
    against = log_sum_exp(push, negative)
    rows, columns = (positive & negative.any(dim=1, keepdim=True)).nonzero(as_tuple=True)
    return F.softplus(against[rows] - pull[rows, columns]).sum() / max(1, len(rows))


def check_positive(owner: str, name: str, value: float) -> None:
    """Refuse a number that is not above zero.

    Raises:
        ValueError: naming the owner, the value and what is allowed.
    """
    if not value > 0:
        raise ValueError(f"{owner} {name} {value}: {name} must be above 0")
