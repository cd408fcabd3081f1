"""A large batch in the memory of a small one (gradient caching, Gao et al., 2021, arXiv:2101.06983)."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

if TYPE_CHECKING:
    from accelerate import Accelerator

Backward = Callable[[Tensor], None]


def backward_in_chunks(
    features: nn.Module,
    criterion: nn.Module,
    images: Tensor,
    extra_tensors: Sequence[Tensor],
    chunk: int,
    accelerator: "Accelerator",
    share: float = 1.0,
) -> Tensor:
    """Loss of a batch, with `share` of its gradient added to all parameters, in the memory of `chunk` images.

    The images go through `features` chunk by chunk without a gradient, the loss of all embeddings together
    gives the gradient of each, and a second pass carries those back, chunk by chunk, with the random numbers
    of the first. Value and gradient are those of one pass over the batch, whatever the loss compares;
    dropout draws other numbers than one pass would, but both passes the same ones. Batch normalisation that
    uses the statistics of its batch sees chunks instead: `depends_on_chunks` says whether there is any.

    Args:
        features: images [B, …] to embeddings [B, D].
        criterion: loss of embeddings [B, D] and what is known of each image.
        images: the whole batch.
        extra_tensors: what the criterion gets besides: class ids [B], perhaps more.
        chunk: images in memory at once; from B on, one pass.
        accelerator: does the backward pass, and says how processes share gradients.
        share: factor on the gradient, for several batches to a step.

    Returns:
        The loss, detached.
    """
    if chunk >= len(images):
        value = criterion(features(images), *extra_tensors)
        accelerator.backward(value * share)
        return value.detach()
    pieces, states, parts = images.split(chunk), [], []
    with torch.no_grad(), preserve_buffers(features):
        for piece in pieces:
            states.append(_random_state(images.device))
            parts.append(features(piece))
    embeddings = torch.cat(parts).requires_grad_()
    value = criterion(embeddings, *extra_tensors)
    accelerator.backward(value * share)
    gradients = torch.zeros_like(embeddings) if embeddings.grad is None else embeddings.grad
    for number, (piece, state, gradient) in enumerate(
        zip(pieces, states, gradients.split(chunk), strict=True), 1
    ):
        shared = nullcontext() if number == len(pieces) else accelerator.no_sync(features)
        with shared, _replay_random_state(state, images.device):
            again = features(piece)
            if again.requires_grad:
                again.backward(gradient)
    return value.detach()


def depends_on_chunks(model: nn.Module) -> list[str]:
    """Names of the batch normalisations that use the statistics of their batch, as the model is set now."""
    return [name for name, part in model.named_modules() if isinstance(part, _BatchNorm) and part.training]


@contextmanager
def preserve_buffers(module: nn.Module) -> Iterator[None]:
    """Undo what a pass changes in running statistics, so that two passes do not count a batch twice."""
    before = [(buffer, buffer.clone()) for buffer in module.buffers()]
    yield
    for buffer, value in before:
        buffer.copy_(value)


def _random_state(device: torch.device) -> tuple[Tensor, Tensor | None]:
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


@contextmanager
def _replay_random_state(state: tuple[Tensor, Tensor | None], device: torch.device) -> Iterator[None]:
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.set_rng_state(state[0])
        if state[1] is not None:
            torch.cuda.set_rng_state(state[1], device)
        yield
