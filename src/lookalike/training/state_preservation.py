"""Leave modules and random numbers as they were, whatever is tried with them."""

import copy
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lookalike.training.checkpoint import random_states, set_random_states

Generator = torch.Generator | np.random.Generator | random.Random
OF_TORCH = frozenset(vars(nn.Module()))
"""What torch itself keeps in a module."""


@contextmanager
def preserve_state(*modules: nn.Module, device: torch.device | None = None) -> Iterator[None]:
    """Restore buffers, gradients, modes and plain attributes of `modules`, and all random states, afterwards.

    Random states are those of the libraries and of the generators that a module holds as attributes. Weights
    are not copied: nothing inside may step an optimizer.

    Args:
        modules: with all their submodules.
        device: of the random states.
    """
    device = device or torch.device("cpu")
    random_numbers, parts = random_states(device), [part for module in modules for part in module.modules()]
    states = [_state(part) for part in parts]
    generators = [(each, _generator_state(each)) for part in parts for each in _generators(part)]
    gradients = [(p, p.grad) for module in modules for p in module.parameters()]
    for parameter, _ in gradients:
        parameter.grad = None
    try:
        yield
    finally:
        for part, state in zip(parts, states, strict=True):
            _restore(part, *state)
        for generator, state in generators:
            _set_generator_state(generator, state)
        for parameter, gradient in gradients:
            parameter.grad = gradient
        set_random_states(random_numbers, device)


def _state(part: nn.Module) -> tuple[dict[str, Any], dict[str, tuple[Tensor | None, Tensor | None]]]:
    """Plain attributes, and each buffer with its content."""
    own_value = {
        name: value for name, value in vars(part).items() if name not in OF_TORCH or name == "training"
    }
    buffers = {name: (each, None if each is None else each.clone()) for name, each in part._buffers.items()}
    return {name: _copy_value(value) for name, value in own_value.items()}, buffers


@torch.no_grad()
def _restore(
    part: nn.Module, own_value: dict[str, Any], buffers: dict[str, tuple[Tensor | None, Tensor | None]]
) -> None:
    for name in [name for name in vars(part) if name not in OF_TORCH and name not in own_value]:
        del vars(part)[name]
    vars(part).update(own_value)
    part._buffers.clear()
    for name, (buffer, content) in buffers.items():
        if buffer is not None and content is not None:
            buffer.copy_(content)
        part._buffers[name] = buffer


def _generators(part: nn.Module) -> list[Generator]:
    return [value for value in vars(part).values() if isinstance(value, Generator)]


def _generator_state(generator: Generator) -> Any:
    if isinstance(generator, torch.Generator):
        return generator.get_state()
    if isinstance(generator, random.Random):
        return generator.getstate()
    return copy.deepcopy(generator.bit_generator.state)


def _set_generator_state(generator: Generator, state: Any) -> None:
    if isinstance(generator, torch.Generator):
        generator.set_state(state)
    elif isinstance(generator, random.Random):
        generator.setstate(state)
    else:
        generator.bit_generator.state = state


def _copy_value(value: Any) -> Any:
    """A value that later changes of the original leave alone, where such a copy can be made."""
    if isinstance(value, list | dict | set | tuple):
        if any(isinstance(each, nn.Module) for each in value):
            return value
        try:
            return copy.deepcopy(value)
        except Exception:  # a value of the user's own may refuse
            return copy.copy(value)
    return value.detach().clone() if isinstance(value, Tensor) else value
