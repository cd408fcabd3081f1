"""Freezing parts of a model by name pattern, and keeping them frozen: batch statistics too."""

from collections.abc import Collection, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from lookalike.errors import ConfigError
from lookalike.model.embedder import EmbeddingModel

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
