"""What a run is made of: the parts to train, and a plan for each stage."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from lookalike.data.cache import Cache
from lookalike.data.table import Table
from lookalike.losses.modifiers import Terms
from lookalike.model.embedder import EmbeddingModel
from lookalike.trackers.group import Trackers
from lookalike.training.mixing import Mixing
from lookalike.training.settings import TrainSettings
from lookalike.training.teacher import Teacher


class Batches(Protocol):
    """What the loop wants of a sampler: batches of row numbers, others in each epoch."""

    def __iter__(self) -> Iterator[list[int]]: ...
    def __len__(self) -> int: ...
    def set_epoch(self, epoch: int) -> None:
        """Choose the batches of this epoch."""

    def state_dict(self, done: int | None = None) -> dict[str, int]:
        """Where the epoch stands after `done` batches."""

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Let the next iteration go on from there."""


@dataclass(frozen=True)
class StageConfig:
    """How to train for a while: a stage of the run, or all of it.

    Attributes:
        epochs: passes over the training images.
        losses: (the losses of the stage before, or None; whether to start what is new from the data) -> the
            losses of this stage.
        sampler: (class ids [N]) -> batches.
        augment: a PIL image to a uint8 tensor [3, S, S], randomly changed.
        optimizer: (parameter groups) -> optimizer.
        schedule: share of the stage done -> factor on every learning rate.
        lr, backbone_lr, loss_lr: learning rates of head and pooling, of the backbone, of the loss's vectors.
        layer_decay: factor on the backbone's rate from layer to layer, away from the head; 1 for none.
        rates: name patterns of weights with a learning rate of their own, and these rates.
        freeze, unfreeze: name patterns of the weights that stay as they are, and exceptions from these.
        chunk: images in memory at once; a larger batch goes through the model twice, in chunks of this many.
        accumulate: batches whose gradients are averaged for one step.
        clip: largest norm of all gradients together.
        keep_statistics: use the backbone's stored batch statistics instead of those of each batch.
        mixing: makes images of two.
        small_size, small_share: train the first share of the epochs on images of this size; 0 for none.
        patience: the stage ends after so many epochs without a better model; None for never.
    """

    epochs: int
    losses: Callable[[Terms | None, bool], Terms]
    sampler: Callable[[np.ndarray], Batches]
    augment: Callable[..., Tensor]
    optimizer: Callable[[list[dict[str, Any]]], torch.optim.Optimizer]
    schedule: Callable[[float], float]
    lr: float
    backbone_lr: float
    loss_lr: float
    layer_decay: float = 1.0
    rates: Mapping[str, float] = field(default_factory=dict)
    freeze: tuple[str, ...] = ()
    unfreeze: tuple[str, ...] = ()
    chunk: int | None = None
    accumulate: int = 1
    clip: float | None = None
    keep_statistics: bool = False
    mixing: Mixing = field(default_factory=Mixing)
    small_size: int = 0
    small_share: float = 0.0
    patience: int | None = None


@dataclass(frozen=True)
class RunComponents:
    """What a run is made of.

    Attributes:
        trainable: names of the weights that learn where nothing is frozen.
        train: images to learn from.
        validation: images of other identities, to choose the best model by; None for none.
        trackers: where the run can be followed besides its folder; the main process alone starts them.
        teacher: a model whose embeddings the losses may want; None for none.
        cache: where training images lie that were shrunk before; None for nowhere.
    """

    model: EmbeddingModel
    trainable: frozenset[str]
    stages: list[StageConfig]
    settings: TrainSettings
    train: Table
    validation: Table | None
    accelerator: Accelerator
    trackers: Trackers = field(default_factory=lambda: Trackers({}))
    teacher: Teacher | None = None
    cache: Cache | None = None

    @property
    def epochs(self) -> int:
        """Of all stages together."""
        return sum(plan.epochs for plan in self.stages)
