"""Plain softmax loss."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lookalike.errors import check_finite
from lookalike.losses._base import ProxyLoss
from lookalike.losses._cosine import Product


class Softmax(ProxyLoss):
    """Cross-entropy of a linear classifier on the raw embeddings.

    `-Σ t_c log softmax(x · w_c + b_c)`, mean over images; the length of an embedding counts, as a measure of
    how sure the classifier is. With smoothing ε the target t is `1 - ε + ε/C` for the true class and `ε/C`
    for the others (Szegedy et al., 2015, arXiv:1512.00567). Weights start with a standard deviation of 1/√D,
    so that logits start about as long as embeddings, and biases at zero. Equal to `torch.nn.Linear` and
    `torch.nn.CrossEntropyLoss`; pytorch-metric-learning has none.

    Args:
        num_classes: number of classes.
        dim: embedding dimension.
        smoothing: share of each target, from 0 to below 1, that is spread evenly over all classes.
        bias: whether each class has a bias, learned too.
    """

    uses_length = True
    starts_at_means = False

    def __init__(self, num_classes: int, dim: int, smoothing: float = 0.0, bias: bool = True) -> None:
        check_finite("Softmax", smoothing=smoothing)
        super().__init__(num_classes, dim)
        if not 0 <= smoothing < 1:
            raise ValueError(f"Softmax smoothing {smoothing}: must be at least 0 and below 1")
        self.smoothing = smoothing
        self.proxies.data.mul_(dim**-0.5)
        self.bias = nn.Parameter(torch.zeros(num_classes)) if bias else None

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Loss of raw embeddings [B, D] and class ids [B]."""
        labels = self._check(embeddings, labels)
        with torch.autocast(embeddings.device.type, enabled=False):
            logits = self.class_scores(embeddings)
            if not len(labels):
                return logits.sum()
            return F.cross_entropy(logits, labels, label_smoothing=self.smoothing)

    def class_scores(self, embeddings: Tensor) -> Tensor:
        """Logits [B, num_classes] of raw embeddings [B, D]."""
        dtype = torch.promote_types(embeddings.dtype, self.proxies.dtype)
        with torch.autocast(embeddings.device.type, enabled=False):
            logits = Product.apply(embeddings.to(dtype), self.proxies.to(dtype))
            return logits if self.bias is None else logits + self.bias
