"""Proxy-NCA++ loss."""

from functools import partial

from torch import Tensor

from lookalike.errors import check_finite
from lookalike.losses._base import ProxyLoss, cosine
from lookalike.losses._fused_proxy import SlopeLoss, cross_entropy, proxy_loss


class ProxyNCApp(ProxyLoss):
    """Proxy-NCA as a probability at a low temperature (Teh et al., 2020, arXiv:2004.01113).

    `-log(exp(-d_y / temperature) / Σ exp(-d_c / temperature))` over all classes, the true one included, mean
    over images; `d = 2 - 2s` is the squared distance of unit vectors with cosine s. The same as
    `NormalizedSoftmax` with `scale = 2 / temperature`.

    The loss is one part of the paper's recipe. Its fast moving proxies are a learning rate (`loss_lr`) far
    above the model's; balanced batches, layer norm and global max pooling are choices of the sampler and of
    the model.

    Args:
        num_classes: number of classes.
        dim: embedding dimension.
        temperature: in units of the squared distance; lower tells near classes apart more sharply.
    """

    def __init__(self, num_classes: int, dim: int, temperature: float = 0.111) -> None:
        check_finite("ProxyNCApp", temperature=temperature)
        super().__init__(num_classes, dim)
        if temperature <= 0:
            raise ValueError(f"ProxyNCApp temperature {temperature}: a temperature is above 0")
        self.temperature = temperature

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Loss of raw embeddings [B, D] and class ids [B]."""
        return proxy_loss(self, embeddings, labels, partial(SlopeLoss.apply, self.rule))

    def class_scores(self, embeddings: Tensor) -> Tensor:
        """Logits [B, num_classes] of raw embeddings [B, D]."""
        return 2 / self.temperature * cosine(embeddings, self.proxies)

    def rule(self, cos: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Loss of the cosines [C, B], which are overwritten, and its derivative."""
        return cross_entropy(cos, labels, 2 / self.temperature)
