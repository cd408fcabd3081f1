"""The settings of a training run: those of the whole run, and those that each stage may change."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lookalike.data.transforms import ResizeMode


@dataclass(frozen=True)
class LossTerm:
    """One of the losses that are added up.

    Attributes:
        weight: factor on its value.
        make: called with those of `num_classes`, `class_counts` and `dim` that its target takes, returns it.
        description: what it is built from; a stage keeps a loss that is described as in the stage before.
        target: its class, if known before it is built.
        built: the loss itself, where it was passed as an object.
    """

    weight: float
    make: Callable[..., nn.Module]
    description: Any
    target: Any = None
    built: nn.Module | None = None


@dataclass(frozen=True)
class SamplerChoice:
    """What chooses the batches.

    Attributes:
        make: (class ids [N], further arguments) -> batches of row numbers.
        target: the class or function, whose parameters say whether classes can be limited and sets mixed.
        arguments: what it is built with.
        name: for messages.
    """

    make: Callable[..., Any]
    target: Any
    arguments: Mapping[str, Any]
    name: str


@dataclass(frozen=True)
class CacheSettings:
    """Where shrunk training images are kept.

    Attributes:
        folder: made if needed.
        side: pixels of the shorter side; None for 8/7 of the model's image size.
        gigabytes: how much the cache may hold; other images are decoded each time.
    """

    folder: Path
    side: int | None = None
    gigabytes: float = 50.0


@dataclass(frozen=True)
class TrainSettings:
    """What holds for all stages.

    Attributes:
        image_size, resize: side of the images that the model sees, and how images become square.
        seed: of all random numbers.
        val_share: share of the training identities set aside for validation where there is no split `val`.
        min_per_class: classes with fewer training images are left out.
        head_start: "whitened" fits a linear head to the features of a pretrained backbone.
        proxy_start: "class_means" starts proxies at the mean embedding of their class.
        average: decay of the moving average of weights that is evaluated and saved; 0 for none.
        compiled: compile the model with torch.compile.
        amp: precision, "no", "bf16" or "fp16".
        shard_classes: divide the classes of margin heads among the processes.
        teacher: model or run folder to distil from; None for none.
        best_metric: the validation metric that chooses the model that is kept.
        far: false accept rate that the model's threshold is chosen for.
        keep_epochs: "best" keeps the best model; "all" also keeps that of each epoch, in epochs/.
        workers, threads: processes that read images, and CPU threads; None for what the machine has.
        save_minutes: a checkpoint is written at the end of each epoch, and this often in between.
        allow_changes: settings that may differ from those of the run that is resumed.
        defaults: value of each setting, by dotted key, that counts where the run that is resumed was written
            before the setting existed.
    """

    image_size: int = 96
    resize: ResizeMode = "squash"
    seed: int = 0
    val_share: float = 0.1
    min_per_class: int = 1
    head_start: Literal["whitened", "random"] = "whitened"
    proxy_start: Literal["class_means", "random"] = "class_means"
    average: float = 0.0
    compiled: bool = False
    amp: Literal["no", "bf16", "fp16"] = "no"
    shard_classes: bool = False
    teacher: Path | None = None
    best_metric: str = "map@r"
    far: float = 1e-3
    keep_epochs: Literal["best", "all"] = "best"
    workers: int | None = None
    threads: int | None = None
    device: str | None = None
    processes: int | None = None
    progress: bool = True
    save_minutes: float = 10.0
    cache: CacheSettings | None = None
    allow_changes: Sequence[str] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class StageSettings:
    """How to train for a while: a stage of the run, or all of it.

    Attributes:
        epochs: passes over the training images.
        losses: what is minimised, by name.
        sampler: what chooses the batches.
        augment: from a PIL image to a uint8 tensor [3, S, S], randomly changed.
        optimizer: (parameter groups) -> optimizer.
        schedule: share of the stage done -> factor on every learning rate.
        lr, backbone_lr, loss_lr: learning rates of head and pooling, of the backbone, and of the loss.
        layer_decay: factor on the backbone's rate from layer to layer, away from the head; 1 for none.
        rates: name patterns of weights with a learning rate of their own, and these rates.
        freeze, unfreeze: name patterns of the weights that are not trained, and exceptions.
        chunk: images in memory at once; a larger batch goes through the model twice, in chunks of this many.
        accumulate: batches whose gradients are averaged for one step.
        clip: maximum norm of all gradients together.
        keep_statistics: use the backbone's stored batch statistics instead of those of each batch; None does
            so if it is pretrained.
        small_size, small_share: train the first share of the epochs on images of this size; 0 for none.
        patience: the stage ends after so many epochs without a better model; None for never.
        dataset_weights: share of every batch that each dataset fills; empty for none.
        undersample, oversample: maximum and minimum images per class and epoch.
        class_sample: share of the classes that a margin head uses in each step.
        memory, memory_warm_up: past embeddings that a batch is compared with, and batches before they are.
        matryoshka: lengths that embeddings may be cut to.
        mixup, cutmix, mix_share: alphas, and share of the batches that are mixed.
        distill, distill_weight, distill_only: what is learned from the teacher, its weight, and whether
            nothing else is.
        number: of the stage, from 1, for messages; 0 where the run has no `stages`.
    """

    epochs: int
    losses: Mapping[str, LossTerm]
    sampler: SamplerChoice
    augment: Callable[..., Tensor]
    optimizer: Callable[[list[dict[str, Any]]], torch.optim.Optimizer]
    schedule: Callable[[float], float]
    lr: float = 1e-3
    backbone_lr: float = 3e-4
    loss_lr: float = 1e-2
    layer_decay: float = 1.0
    rates: Mapping[str, float] = field(default_factory=dict)
    freeze: Sequence[str] = ()
    unfreeze: Sequence[str] = ()
    chunk: int | None = None
    accumulate: int = 1
    clip: float | None = 10.0
    keep_statistics: bool | None = None
    small_size: int = 0
    small_share: float = 0.5
    patience: int | None = None
    dataset_weights: Sequence[float] = ()
    undersample: int | None = None
    oversample: int | None = None
    class_sample: float = 1.0
    memory: int = 0
    memory_warm_up: int = 0
    matryoshka: Sequence[int] = ()
    mixup: float = 0.0
    cutmix: float = 0.0
    mix_share: float = 1.0
    distill: str = "cosine"
    distill_weight: float = 1.0
    distill_only: bool = False
    number: int = 0
