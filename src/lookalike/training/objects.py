"""Losses, samplers and functions that are passed as Python objects, as the settings that training takes."""

import hashlib
import inspect
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from lookalike.errors import ConfigError
from lookalike.training.sampling import OwnBatches
from lookalike.training.settings import LossTerm, SamplerChoice


def describe(value: object) -> str:
    """What an object is, for config.yaml; equal for objects that are built alike."""
    if isinstance(value, partial):
        arguments = [describe(each) for each in value.args]
        arguments += [f"{name}={describe(each)}" for name, each in value.keywords.items()]
        return f"{describe(value.func)}({', '.join(arguments)})"
    if value is None or isinstance(value, str | int | float | Path):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(describe, value))}]"
    named: Any = value if hasattr(value, "__qualname__") else type(value)
    name = f"{named.__module__}.{named.__qualname__}"
    if isinstance(value, nn.Module):
        return f"{name} {hashlib.sha256(str(value).encode()).hexdigest()[:8]}"
    return name


def refuse_uncallable(name: str, value: Any) -> None:
    """Refuse an object that cannot be called.

    Raises:
        ConfigError: names it.
    """
    if not callable(value):
        raise ConfigError(f"{name}={value!r}: must be a name or something that can be called")


def name_losses(value: Any) -> dict[str, Any]:
    """Losses by name: their own if they are names, or else that of the class in snake case."""
    named: dict[str, Any] = {}
    for loss in value if isinstance(value, list | tuple) else [value]:
        kind = loss.func if isinstance(loss, partial) else loss
        title = getattr(kind, "__name__", type(kind).__name__)
        name = loss if isinstance(loss, str) else re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", title).lower()
        name = re.sub(r"\W+", "", name) or "loss"
        count = sum(other.rstrip("0123456789").rstrip("_") == name for other in named)
        named[f"{name}_{count + 1}" if count else name] = loss
    return named


def loss_of_object(name: str, weight: float, loss: Any) -> LossTerm:
    """The term of a loss: a module, a class or factory that gets the classes, or a function.

    Raises:
        ConfigError: the object or its name cannot be used.
    """
    if not name.isidentifier():
        raise ConfigError(f"loss {name!r}: a name of a loss consists of letters, digits and _")
    description = describe(loss)
    if isinstance(loss, nn.Module):
        return LossTerm(weight, _not_called, description, type(loss), loss)
    if isinstance(loss, type | partial):
        target = loss.func if isinstance(loss, partial) else loss
        return LossTerm(weight, partial(_build_own_loss, name, loss), description, target)
    refuse_uncallable(f"loss {name}", loss)
    return LossTerm(weight, _not_called, description, type(loss), FunctionLoss(loss))


class FunctionLoss(nn.Module):
    """A function (embeddings, labels) -> scalar as a module."""

    uses_length = True  # for all that is known

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]):
        super().__init__()
        self.function = function

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """The value of the function."""
        return self.function(embeddings, labels)


def _not_called(**_: Any) -> nn.Module:
    raise TypeError("this loss is built already")


def _build_own_loss(name: str, factory: Callable[..., nn.Module], **sizes: Any) -> nn.Module:
    parameters = inspect.signature(factory).parameters
    keywords = factory.keywords if isinstance(factory, partial) else {}
    try:
        loss = factory(**{key: v for key, v in sizes.items() if key in parameters and key not in keywords})
    except (TypeError, ValueError) as error:
        raise ConfigError(f"loss {name}: {error}") from error
    if not isinstance(loss, nn.Module):
        raise ConfigError(f"loss {name}: {describe(factory)} gives {type(loss).__name__}, not a torch module")
    return loss


def sampler_of_object(sampler: Any) -> SamplerChoice:
    """The choice of a sampler: a class or factory that gets the class ids, or the batches themselves."""
    title = describe(sampler)
    if isinstance(sampler, type | partial) or (callable(sampler) and not hasattr(sampler, "__iter__")):
        parameters = inspect.signature(sampler).parameters
        defaults = {n: p.default for n, p in parameters.items() if p.default is not inspect.Parameter.empty}
        return SamplerChoice(sampler, sampler, defaults, title)
    return SamplerChoice(lambda labels: sampler, lambda labels: sampler, {}, title)


def call_seeded(choice: SamplerChoice, seed: int, labels: Any, **arguments: Any) -> Any:
    """The sampler for these class ids; it gets the seed of the run if it takes one that is not set.

    Raises:
        ConfigError: it cannot be built with these arguments.
    """
    parameters, keywords = inspect.signature(choice.target).parameters, getattr(choice.target, "keywords", {})
    if "seed" in parameters and "seed" not in keywords:
        arguments = {"seed": seed, **arguments}
    try:
        sampler = choice.make(labels, **arguments)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"sampler {choice.name}: {error}") from error
    whole = ("set_epoch", "state_dict", "load_state_dict", "__len__", "__iter__")
    return sampler if all(hasattr(sampler, name) for name in whole) else OwnBatches(sampler, len(labels))
