"""What a network makes of images of one size: found out by trying it, without weights or arithmetic."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lookalike.errors import ConfigError
from lookalike.model.timm_shapes import quiet, used_parameters
from lookalike.model.weights import first_line

Read = Callable[[nn.Module, Tensor], Tensor]


@dataclass(frozen=True)
class Trial:
    """What comes out of a network.

    Attributes:
        map_dim: channels of its feature map.
        pooled_dim: length of its own vector.
        used: names of the parameters that the maps depend on, and of those that the pooled vector does.
    """

    map_dim: int
    pooled_dim: int
    used: dict[str, frozenset[str]]

    def unused_parameters(self, net: nn.Module, reads: str) -> list[str]:
        """Names of the parameters of `net` that what a pooling reads does not depend on."""
        used = self.used["pooled" if reads == "pooled" else "maps"]
        return [name for name, _ in net.named_parameters() if name not in used]


def try_out(make: Callable[[], nn.Module], maps: Read, pooled: Read, size: int, advice: str) -> Trial:
    """Try a network on two images: on the meta device if possible, else on the CPU.

    Args:
        make: builds the network with random weights; called once or twice.
        maps: (network, images) -> feature map [B, C, h, w].
        pooled: (network, images) -> vectors [B, D].
        size: side of the images.
        advice: ends the message, says what would work.

    Raises:
        ConfigError: it cannot read such images.
    """
    for device in ("meta", "cpu"):  # some networks read values as they are built or run
        try:
            return _trial(make, maps, pooled, size, device)
        except Exception as error:  # whatever a network raises on images that do not fit it
            failure = error
    raise ConfigError(
        f"cannot read images of {size}×{size} pixels ({first_line(failure)}); {advice}"
    ) from failure


def _trial(make: Callable[[], nn.Module], maps: Read, pooled: Read, size: int, device: str) -> Trial:
    with torch.random.fork_rng(devices=[]), torch.device(device), torch.enable_grad(), quiet():
        net = make().eval()
        images = torch.zeros(2, 3, size, size)
        outputs = {"maps": maps(net, images), "pooled": pooled(net, images)}
    if not outputs["maps"].numel():
        raise ValueError(f"its feature map is empty: {list(outputs['maps'].shape[1:])}")
    return Trial(
        map_dim=outputs["maps"].shape[1],
        pooled_dim=outputs["pooled"].shape[1],
        used={name: used_parameters(net, output) for name, output in outputs.items()},
    )
