"""A torch module of the user's own as a backbone."""

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from lookalike.errors import ConfigError
from lookalike.model.backbone import Backbone

KIND = "module"


class OwnModule(Backbone):
    """A module that maps images to vectors or to feature maps.

    It gets float images in 0…1, [B, 3, S, S]; any further normalisation is its own. It counts as untrained.

    Args:
        net: the module; tried on two black images.
        size: S, in pixels.

    Raises:
        ConfigError: it fails on such images, or gives something else.
    """

    net: nn.Module
    mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)

    def __init__(self, net: nn.Module, size: int):
        super().__init__()
        self.net = net
        kind = type(net)
        self.spec = {"kind": KIND, "name": f"{kind.__module__}.{kind.__qualname__}"}
        shape = _output_shape(net, size)
        self.gives_maps = len(shape) == 4
        self.map_dim = self.pooled_dim = shape[1]

    def maps(self, images: Tensor) -> Tensor:
        """See `Backbone.maps`."""
        return self.net(images)

    def pool_images(self, images: Tensor) -> Tensor:
        """The vector that the module gives, or the mean of its feature map."""
        output = self.net(images)
        return output.mean((2, 3)) if self.gives_maps else output

    def check_reads(self, reads: str) -> None:
        """See `Backbone.check_reads`."""
        super().check_reads(reads)
        if reads == "maps" and not self.gives_maps:
            raise ConfigError(
                f"pooling: {type(self.net).__name__} gives vectors, so there is no feature map to pool; take "
                "pooling=native"
            )


def _output_shape(net: nn.Module, size: int) -> tuple[int, ...]:
    """Shape of what a module makes of two images; its mode and all random numbers stay as they were."""
    name, modes = type(net).__name__, [(part, part.training) for part in net.modules()]
    tensors = [*net.parameters(), *net.buffers()]
    if not any(parameter.numel() for parameter in net.parameters() if not is_lazy(parameter)) and not any(
        map(is_lazy, tensors)
    ):
        raise ConfigError(f"model {name}: has no parameters, so there is nothing to train")
    device = next((each.device for each in tensors), torch.device("cpu"))
    net.eval()
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            output = net(torch.zeros(2, 3, size, size, device=device))
    except Exception as error:
        raise ConfigError(
            f"model {name}: fails on float images [2, 3, {size}, {size}]: {type(error).__name__}: {error}"
        ) from error
    finally:
        for part, training in modes:
            part.training = training
    shape = list(output.shape) if isinstance(output, Tensor) else type(output).__name__
    if not isinstance(output, Tensor) or output.ndim not in (2, 4) or output.shape[0] != 2:
        raise ConfigError(
            f"model {name}: gives {shape} for images [2, 3, {size}, {size}]; it must give vectors [2, D] or "
            "a feature map [2, C, h, w]"
        )
    return tuple(output.shape)
