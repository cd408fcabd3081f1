"""Which parameters learn at which rate."""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from lookalike.errors import ConfigError
from lookalike.losses.modifiers import Terms
from lookalike.model.backbones import Backbone, Timm
from lookalike.model.embedder import EmbeddingModel
from lookalike.training.freeze import matching_parameters

if TYPE_CHECKING:
    from lookalike.training.components import StageConfig

Groups = list[dict[str, Any]]
Tried = tuple[torch.optim.Optimizer, Tensor]


def parameter_groups(model: EmbeddingModel, loss: Terms, plan: "StageConfig") -> Groups:
    """Every trained parameter once, with the rate of its part, of its layer, or of the pattern that names it.

    The groups are named `backbone`, `head` (with the pooling), `loss`, or by a pattern of `plan.rates`.
    Vectors, scales and proxies have no weight decay. Patterns match names such as `backbone.net.blocks.6`,
    `head` and `loss.arcface`; where several match, the last one counts.

    Raises:
        ConfigError: every parameter is frozen, or a pattern matches nothing.
    """
    parts = nn.ModuleDict(
        {"backbone": model.backbone, "pool": model.pool, "head": model.head, "loss": loss.losses}
    )
    full = {"backbone": plan.backbone_lr, "pool": plan.lr, "head": plan.lr, "loss": plan.loss_lr}
    factors = layer_factors(model.backbone, plan.layer_decay)
    patterns = {
        name: pattern for pattern in plan.rates for name in matching_parameters(parts, pattern, "rates")
    }
    groups: dict[tuple[str, float, bool], list[Tensor]] = {}
    for name, parameter in parts.named_parameters():
        part, _, inside = name.partition(".")
        if not parameter.requires_grad:
            continue
        if name in patterns:
            title, rate = patterns[name], plan.rates[patterns[name]]
        else:
            title = "head" if part == "pool" else part
            rate = full[part] * (factors.get(inside, 1.0) if part == "backbone" else 1.0)
        groups.setdefault((title, rate, parameter.ndim > 1 and part != "loss"), []).append(parameter)
    if not groups:
        raise ConfigError("freeze: nothing is left to train; unfreeze a part, such as unfreeze=[head]")
    return [
        {"name": title, "params": parameters, "lr": rate, **({} if decays else {"weight_decay": 0.0})}
        for (title, rate, decays), parameters in groups.items()
    ]


def layer_factors(backbone: Backbone, decay: float) -> dict[str, float]:
    """`decay ** depth` by parameter name, with depth 0 for the layer next to the head; empty if decay is 1.

    What a layer is says timm for its models, where most have one for each block. In other backbones a layer
    is the first numbered module of a name (`body.0` of `body.0.1.weight`, `stage1` of `stage1.0.weight`), or
    else the outermost module, in the order in which the backbone lists them.
    """
    if decay == 1:
        return {}
    named = dict(backbone.named_parameters())
    if isinstance(backbone, Timm) and hasattr(backbone.net, "group_matcher"):
        from timm.optim import param_groups_layer_decay

        groups = param_groups_layer_decay(backbone.net, weight_decay=0.0, layer_decay=decay)
        factors = {id(parameter): group["lr_scale"] for group in groups for parameter in group["params"]}
        return {name: factors[id(parameter)] for name, parameter in named.items() if id(parameter) in factors}
    layers = {name: re.match(r".*?\d+(?=\.)|[^.]+", name)[0] for name in named}  # type: ignore[index]
    depth = {layer: depth for depth, layer in enumerate(reversed(dict.fromkeys(layers.values())))}
    return {name: decay ** depth[layer] for name, layer in layers.items()}


def set_rates(optimizer: torch.optim.Optimizer, rates: list[float], factor: float) -> None:
    """Each group's full rate times `factor`."""
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate * factor


def rates_by_name(optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """The rates now, as history columns: the highest of each name, and the lowest where layers differ."""
    by_name: dict[str, list[float]] = {}
    for group in optimizer.param_groups:
        by_name.setdefault(group["name"], []).append(group["lr"])
    highest = {f"lr_{name}": max(rates) for name, rates in by_name.items()}
    lowest = {f"lr_{name}_lowest": min(rates) for name, rates in by_name.items() if min(rates) < max(rates)}
    return {**highest, **lowest}


def check_optimizer(
    make: Callable[[Groups], torch.optim.Optimizer], sparse: bool, device: torch.device | str = "cpu"
) -> torch.optim.Optimizer:
    """Try an optimiser out on a few numbers, so that what it refuses is known before anything is read.

    Args:
        make: (parameter groups) -> optimizer.
        sparse: whether some gradients will be sparse, so that it must treat each number alone.
        device: where training will be; some optimizers or their arguments work on one kind only.

    Returns:
        Such an optimiser.

    Raises:
        ConfigError: it cannot be built, or step without a function that computes the loss again; or it looks
            at more than one number at a time and gradients are sparse.
    """
    (optimizer, whole), (_, separate) = (_try_optimizer(make, rows, device) for rows in (2, 1))
    if sparse and not torch.allclose(whole, separate):
        raise ConfigError(
            "class_sample: steps some rows of the proxies at a time, which is wrong for an optimizer that "
            "looks at whole matrices; take adamw, adam, radam, sgd or lion, or class_sample=1"
        )
    return optimizer


def _try_optimizer(
    make: Callable[[Groups], torch.optim.Optimizer], rows: int, device: torch.device | str
) -> Tried:
    """An optimiser of two rows of numbers, so many to a parameter, and the numbers after two steps."""
    parameters = [
        nn.Parameter(part) for part in torch.tensor([[1.0, -2.0], [30.0, 0.1]], device=device).split(rows)
    ]
    try:
        optimizer = make([{"name": "trial", "params": parameters, "lr": 0.1}])
    except Exception as error:  # whatever an optimizer of the user's choice raises
        raise ConfigError(f"optimizer: cannot be built: {_first_line(error)}") from error
    for gradients in torch.tensor([[[4.0, 1.0], [-0.1, 20.0]], [[-0.1, 1.0], [-3.0, 1.0]]]):
        for parameter, gradient in zip(parameters, gradients.split(rows), strict=True):
            parameter.grad = gradient.to(device, copy=True)
        try:
            optimizer.step()
        except TypeError as error:
            raise ConfigError(f"optimizer: cannot step on gradients alone ({error}); take another") from error
        except Exception as error:
            raise ConfigError(
                f"optimizer: fails at its first step on {torch.device(device).type}: {_first_line(error)}; "
                "change its arguments or take another"
            ) from error
    return optimizer, torch.cat([parameter.detach() for parameter in parameters])


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
