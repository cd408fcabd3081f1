"""A large batch in the memory of a small one (gradient caching, Gao et al., 2021, arXiv:2101.06983)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

RandomState = tuple[Tensor, Tensor | None]


class ForwardPass:
    """A batch's way through a model and back, in chunks where the batch is larger than `chunk`.

    In chunks, the images first go through `features` without a gradient. The loss of all embeddings together
    gives the gradient of each, and a second pass carries those back, chunk by chunk, with the random numbers
    of the first. Value and gradient are those of one pass over the batch, whatever the loss compares; dropout
    draws other numbers than one pass would, but the same ones in both passes. Batch normalisation that uses
    the statistics of its batch sees chunks instead: `depends_on_chunks` lists such layers.

    Args:
        features: images [B, …] to embeddings [B, D].
        images: the whole batch.
        chunk: images in memory at once; from B on, one pass.
        accelerator: runs the backward pass, and controls when processes average gradients.

    Attributes:
        embeddings: [B, D]; the loss is computed from these.
    """

    def __init__(self, features: nn.Module, images: Tensor, chunk: int, accelerator: Accelerator):
        self.features, self.accelerator, self.device = features, accelerator, images.device
        self._chunks: list[tuple[Tensor, RandomState]] = []
        if chunk >= len(images):
            self.embeddings: Tensor = features(images)
            return
        parts = []
        with torch.no_grad(), preserve_buffers(features):
            for piece in images.split(chunk):
                self._chunks.append((piece, _random_state(images.device)))
                parts.append(features(piece))
        self.embeddings = torch.cat(parts).requires_grad_()

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of a loss of the embeddings to all parameters."""
        self.accelerator.backward(loss)
        if not self._chunks:
            return
        embeddings = self.embeddings
        gradients = torch.zeros_like(embeddings) if embeddings.grad is None else embeddings.grad
        gradients = gradients.split([len(piece) for piece, _ in self._chunks])
        for number, ((piece, state), gradient) in enumerate(zip(self._chunks, gradients, strict=True), 1):
            is_last = number == len(self._chunks)
            shared = nullcontext() if is_last else self.accelerator.no_sync(self.features)
            with shared, _replay_random_state(state, self.device):
                again = self.features(piece)
                if again.requires_grad:
                    again.backward(gradient)


def backward_in_chunks(
    features: nn.Module,
    criterion: nn.Module,
    images: Tensor,
    extra_tensors: Sequence[Tensor],
    chunk: int,
    accelerator: Accelerator,
) -> Tensor:
    """Loss of a batch, detached; its gradient is added to all parameters. See `ForwardPass`.

    Args:
        features: images [B, …] to embeddings [B, D].
        criterion: loss of embeddings [B, D] and `extra_tensors`.
        images: the whole batch.
        extra_tensors: what the criterion gets besides: class ids [B], perhaps more.
        chunk: images in memory at once.
        accelerator: see `ForwardPass`.
    """
    forward = ForwardPass(features, images, chunk, accelerator)
    value = criterion(forward.embeddings, *extra_tensors)
    forward.backward(value)
    return value.detach()


def depends_on_chunks(model: nn.Module) -> list[str]:
    """Names of the batch normalisations that use the statistics of their batch, as the model is set now."""
    return [name for name, part in model.named_modules() if isinstance(part, _BatchNorm) and part.training]


@contextmanager
def preserve_buffers(module: nn.Module) -> Iterator[None]:
    """Restore running statistics after a pass, so that two passes do not count a batch twice."""
    before = [(buffer, buffer.clone()) for buffer in module.buffers()]
    yield
    for buffer, value in before:
        buffer.copy_(value)


def _random_state(device: torch.device) -> RandomState:
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


@contextmanager
def _replay_random_state(state: RandomState, device: torch.device) -> Iterator[None]:
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.set_rng_state(state[0])
        if state[1] is not None:
            torch.cuda.set_rng_state(state[1], device)
        yield
