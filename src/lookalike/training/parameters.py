"""Which parameters are trained, and at which learning rate."""

import re
from collections.abc import Callable, Collection, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lookalike.errors import ConfigError
from lookalike.losses.modifiers import Terms
from lookalike.model.backbones import Backbone, Timm
from lookalike.model.embedder import EmbeddingModel
from lookalike.training.components import StageConfig

Groups = list[dict[str, Any]]
EVERYTHING = {"all", "everything", "true", "yes", "model", "net", "network", "encoder", "body"}
"""What users write for a whole model or backbone."""


def freeze(model: nn.Module, frozen: Sequence[str], unfrozen: Sequence[str] = ()) -> None:
    """Stop the gradients of every parameter whose name matches `frozen` and not `unfrozen`.

    Args:
        model: changed in place; parameters that match neither are left as they are.
        frozen: globs on module or parameter names, such as "backbone.*" or "backbone.net.blocks.[01].*";
            the name of a module stands for all that is in it.
        unfrozen: globs that take parameters out of `frozen` again.

    Raises:
        ConfigError: a glob matches nothing; the nearest names are listed.
    """
    for pattern in frozen:
        _require_grad(model, pattern, False)
    for pattern in unfrozen:
        _require_grad(model, pattern, True)


def refreeze(
    model: nn.Module, trainable: Collection[str], frozen: Sequence[str], unfrozen: Sequence[str] = ()
) -> None:
    """As `freeze`, from a state in which only the parameters named in `trainable` learn."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in trainable)
    freeze(model, frozen, unfrozen)
    for name, parameter in model.named_parameters():
        if name not in trainable:  # unfreezing a part does not train weights that get no gradient
            parameter.requires_grad_(False)


def trainable(model: nn.Module) -> frozenset[str]:
    """The names of all parameters that learn."""
    return frozenset(name for name, parameter in model.named_parameters() if parameter.requires_grad)


def train_mode(model: EmbeddingModel, keep_statistics: bool = False) -> None:
    """Training mode, except modules whose parameters are all frozen: they stay in eval mode.

    Args:
        model: changed in place.
        keep_statistics: leave all batch normalisations of the backbone in eval mode, so that they use their
            stored statistics; their scales and offsets still learn.
    """
    model.train()
    for module in model.modules():
        parameters = list(module.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            module.eval()
    if keep_statistics:
        for module in model.backbone.modules():
            if isinstance(module, _BatchNorm):
                module.eval()


def matching_parameters(model: nn.Module, pattern: str, owner: str) -> list[str]:
    """Names of the parameters that a glob names, or the module that it names.

    Args:
        model: any module.
        pattern: see `freeze`.
        owner: the key of the config that holds it, for messages.

    Raises:
        ConfigError: it matches nothing; the nearest names are listed.
    """
    names = [name for name, _ in model.named_parameters()]
    selected = [name for name in names if fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*")]
    selected += [name for name in names if name.startswith(f"{pattern}.") and name not in selected]
    if not selected and pattern.lower() in EVERYTHING:
        raise ConfigError(
            f"{owner}: {pattern!r} matches no part of the model. freeze=[backbone] freezes the backbone and "
            "trains the head; epochs=0 trains nothing and saves the model as it is"
        )
    if not selected:
        modules = [name for name, _ in model.named_modules() if name]
        if any(fnmatchcase(name, pattern) for name in modules):
            raise ConfigError(f"{owner}: {pattern!r} has no weights in this model; leave it out")
        suggestions = get_close_matches(pattern.rstrip(".*"), modules, n=5, cutoff=0.3)
        suggestions = suggestions or [name for name, _ in model.named_children()]
        raise ConfigError(
            f"{owner}: {pattern!r} matches no part of the model; nearest: {', '.join(suggestions)}"
        )
    return selected


def _require_grad(model: nn.Module, pattern: str, requires_grad: bool) -> None:
    names = dict(model.named_parameters())
    for name in matching_parameters(model, pattern, "freeze"):
        names[name].requires_grad_(requires_grad)


def parameter_groups(model: EmbeddingModel, loss: Terms, plan: StageConfig) -> Groups:
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
) -> tuple[torch.optim.Optimizer, Tensor]:
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
