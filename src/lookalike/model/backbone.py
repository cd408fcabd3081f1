"""What a backbone is: image batch in, feature map or vector out; a `spec` of plain values rebuilds it."""

from typing import Any

from torch import Tensor, nn

from lookalike.errors import ConfigError

Spec = dict[str, Any]
POOLINGS = {"class_token": "cls", "class_and_maps": "cls_gem"}
"""The poolings that read a class token, by what they read."""


class Backbone(nn.Module):
    """What every backbone offers.

    Attributes:
        spec: plain values that rebuild it without weights, see `rebuild`.
        map_dim: channels of `maps`.
        pooled_dim: length of what `pool_images` gives.
        mean, std: per channel, of images in 0…1, that the weights were trained with.
        interpolation: the resampling that the weights were trained with.
        pretrained: whether it holds weights that were trained, by others or by us.
        licence: of the published weights, where their library states it.
    """

    spec: Spec
    map_dim: int
    pooled_dim: int
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    interpolation: str = "bilinear"
    pretrained: bool = False
    licence: str | None = None

    def maps(self, images: Tensor) -> Tensor:
        """Normalised images [B, 3, H, W] to a feature map [B, map_dim, h, w]."""
        raise NotImplementedError

    def pool_images(self, images: Tensor) -> Tensor:
        """Normalised images [B, 3, H, W] to a vector [B, pooled_dim], pooled in the backbone's own way."""
        raise NotImplementedError

    def class_token(self, images: Tensor) -> Tensor:
        """Normalised images [B, 3, H, W] to the class token of a transformer, [B, map_dim]."""
        raise NotImplementedError

    def class_and_maps(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """`class_token` and `maps` of the same images, in one pass."""
        raise NotImplementedError

    def check_reads(self, reads: str) -> None:
        """Refuse a pooling that reads what this backbone does not give.

        Args:
            reads: maps, pooled, class_token or class_and_maps.

        Raises:
            ConfigError: naming poolings that fit.
        """
        if reads in POOLINGS:
            raise ConfigError(
                f"pooling={POOLINGS[reads]}: backbone {title(self)} has no class token; "
                "choose another pooling"
            )

    def unused_parameters(self, reads: str) -> list[str]:
        """Names of the parameters that what is read does not depend on."""
        return []


def title(backbone: Backbone) -> str:
    """What a backbone is called in messages."""
    return str(backbone.spec.get("name", backbone.spec.get("kind")))
