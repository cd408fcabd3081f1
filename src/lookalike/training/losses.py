"""From the loss terms of a stage to the one loss that training holds."""

import copy
import inspect
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from lookalike.data.table import Table
from lookalike.errors import ConfigError
from lookalike.losses import MarginHead
from lookalike.losses.cross_batch_memory import CrossBatchMemory
from lookalike.losses.distillation import Distillation
from lookalike.losses.matryoshka import Matryoshka
from lookalike.losses.modifiers import Terms
from lookalike.losses.sharded import divide_classes
from lookalike.model.embedder import EmbeddingModel
from lookalike.training.initialization import start_proxies
from lookalike.training.mixing import takes_mixed
from lookalike.training.settings import LossTerm, StageSettings, TrainSettings
from lookalike.training.teacher import Teacher

DISTILL = "distill"
"""The name of the distillation loss among the losses."""


class Losses:
    """Makes the losses of each stage; those of the stage before go on where nothing about them changed.

    Args:
        train: the training images.
        model: embeds them, so that proxies can start at the means of their classes.
        teacher: what the model may learn from besides.
        settings: of the run.
        workers: processes that read images.
        processes: how many train together.
    """

    def __init__(
        self,
        train: Table,
        model: EmbeddingModel,
        teacher: Teacher | None,
        settings: TrainSettings,
        workers: int,
        processes: int,
    ):
        self.train, self.model, self.teacher, self.settings = train, model, teacher, settings
        self.workers, self.processes = workers, processes

    def trial(self, stage: StageSettings) -> Terms:
        """The losses of a stage, only to see whether they can be built.

        Raises:
            ConfigError: see `build_losses` and `share_classes`.
        """
        copies = {name: replace(term, built=copy.deepcopy(term.built)) for name, term in stage.losses.items()}
        with torch.random.fork_rng([]):
            loss = self._build(replace(stage, losses=copies))
            share_classes(loss, stage, self.settings, self.processes)
        return loss

    def make(
        self, stage: StageSettings, earlier: StageSettings | None, before: Terms | None, fresh: bool
    ) -> Terms:
        """The losses of a stage.

        Args:
            stage: its settings.
            earlier: those of the stage before; None for the first.
            before: the losses of the stage before; None for the first, or where a checkpoint follows.
            fresh: start new proxies from the data.
        """
        loss, settings = self._build(stage), self.settings
        trained = earlier is not None or self.model.backbone.pretrained
        if fresh and trained and stage.epochs and settings.proxy_start == "class_means":
            start_proxies(loss, self.model, self.train, settings.seed, self.workers)
        share_classes(loss, stage, settings, self.processes)
        if before is not None and earlier is not None:
            for name in loss.losses:
                if name in before.losses and _describe_loss(stage, name) == _describe_loss(earlier, name):
                    loss.losses[name] = before.losses[name]
        return loss

    def _build(self, stage: StageSettings) -> Terms:
        teacher_dim = None if self.teacher is None else self.teacher.dim
        return build_losses(stage, self.train, self.model.dim, teacher_dim)


def _describe_loss(stage: StageSettings, name: str) -> tuple[Any, ...]:
    """All that a loss is built from, except for its weight."""
    if name == DISTILL:
        return (stage.distill,)
    memory = (stage.memory, stage.memory_warm_up)
    return stage.losses[name].description, memory, tuple(stage.matryoshka), stage.class_sample


def build_losses(stage: StageSettings, train: Table, dim: int, teacher_dim: int | None = None) -> Terms:
    """The weighted sum of a stage's losses, each with its modifiers, and of the distillation loss.

    Args:
        stage: its settings.
        train: the training images.
        dim: length of the embeddings.
        teacher_dim: of the teacher's; None without one.

    Raises:
        ConfigError: a loss refuses its values, a length is longer than the embeddings, a memory is asked for
            and no loss compares images with images, or images are mixed and a loss cannot be told so.
    """
    counts, terms = class_counts(train), {} if stage.distill_only else stage.losses
    built = {
        name: (term.weight, _build_with_lengths(stage, term, counts, dim)) for name, term in terms.items()
    }
    _check_mixing(stage, built)
    if teacher_dim and stage.distill_weight:
        built[DISTILL] = (stage.distill_weight, Distillation(dim, teacher_dim, stage.distill))
    if not any(weight for weight, _ in built.values()):
        raise ConfigError(
            f"{', '.join(f'loss.{name}.weight=0' for name in built)}: nothing is left to minimise; "
            "give a loss a weight above 0"
        )
    losses = [loss for _, loss in built.values()]
    if stage.memory and not any(_has_memory(loss) for loss in losses):
        raise ConfigError(
            f"memory={stage.memory}: none of {', '.join(built)} compares images with images; "
            "take one that does, such as multi_similarity, or memory=0"
        )
    try:
        return Terms(built)
    except ValueError as error:
        raise ConfigError(f"{error} (loss.NAME.weight)") from error


def matryoshka_dims(stage: StageSettings, dim: int) -> tuple[int, ...]:
    """The dimensions that a stage trains a model to be truncated to; empty if it does not."""
    dims = {*stage.matryoshka}
    for term in () if stage.distill_only else stage.losses.values():
        if isinstance(term.built, Matryoshka):
            dims |= {*term.built.weights}
    return tuple(sorted({*dims, dim})) if dims else ()


def _check_mixing(stage: StageSettings, built: dict[str, tuple[float, nn.Module]]) -> None:
    if not stage.mix_share or not (stage.mixup or stage.cutmix):
        return
    refused = [name for name, (_, loss) in built.items() if not takes_mixed(loss)]
    if refused:
        setting = f"mixup={stage.mixup}" if stage.mixup else f"cutmix={stage.cutmix}"
        raise ConfigError(
            f"{setting}: {', '.join(refused)} compares images by their classes, and a mixed image is of two: "
            "take losses with proxies, such as arcface or proxy_anchor, or mixup=0 cutmix=0"
        )


def share_classes(loss: Terms, stage: StageSettings, settings: TrainSettings, processes: int) -> None:
    """Let margin heads use some of the classes in each step, or hold some of them; changed in place.

    Raises:
        ConfigError: no loss is a margin head, or there is one process only.
    """
    key = _class_division_key(stage, settings)
    if not key:
        return
    if settings.shard_classes and processes == 1:
        raise ConfigError(f"{key}: there is one process, so nothing to divide; start several with torchrun")
    if settings.shard_classes and settings.amp == "fp16":
        raise ConfigError(f"{key}: in fp16 processes may skip different steps; take amp=bf16")
    try:
        divided = divide_classes(loss, stage.class_sample, settings.shard_classes)
    except ValueError as error:
        raise ConfigError(f"{key}: {error}") from error
    if not divided:
        raise ConfigError(_missing_heads_error(key, stage))


def check_heads(stage: StageSettings, settings: TrainSettings) -> None:
    """Refuse, before anything is read, to divide the classes where no loss can be a margin head.

    Raises:
        ConfigError: all losses are Lookalike's, and none is one. One of the user's own may hold one.
    """
    key = _class_division_key(stage, settings)
    targets = [] if stage.distill_only else [term.target for term in stage.losses.values()]
    if not key or not all(str(getattr(each, "__module__", "")).startswith("lookalike.") for each in targets):
        return
    if not any(isinstance(each, type) and issubclass(each, MarginHead) for each in targets):
        raise ConfigError(_missing_heads_error(key, stage))


def _class_division_key(stage: StageSettings, settings: TrainSettings) -> str:
    """The key by which classes are to be divided; empty without one."""
    if settings.shard_classes:
        return "shard_classes=true"
    return "" if stage.class_sample == 1 else f"class_sample={stage.class_sample}"


def _missing_heads_error(key: str, stage: StageSettings) -> str:
    names = (
        f"none of {', '.join(stage.losses)} is a"
        if stage.losses and not stage.distill_only
        else "there is no"
    )
    return f"{key}: {names} margin head, such as arcface"


def class_counts(train: Table) -> list[int]:
    """How many images each class has, by class id."""
    return np.unique(train.labels, return_counts=True)[1].tolist()


def build_loss(term: LossTerm, counts: Sequence[int], dim: int) -> nn.Module:
    """The loss of a term; a class or factory is told the classes, their image counts, and the dimension."""
    loss = term.built
    if loss is None:
        return term.make(num_classes=len(counts), class_counts=list(counts), dim=dim)
    for name, value in (("num_classes", len(counts)), ("dim", dim)):
        size = getattr(loss, name, value)
        if isinstance(size, int) and size != value:
            raise ConfigError(
                f"loss {type(loss).__name__}: has {name}={size}, and training needs {name}={value}; build it "
                f"with that, or pass the class, loss={type(loss).__name__}, which is then built to fit"
            )
    return loss


def _build_with_lengths(stage: StageSettings, term: LossTerm, counts: list[int], dim: int) -> nn.Module:
    build_one = partial(_build_with_memory, stage, term, counts)
    if not stage.matryoshka:
        return build_one(dim)
    if max(stage.matryoshka) > dim:
        raise ConfigError(f"matryoshka={[*stage.matryoshka]}: embeddings have dimension dim={dim}")
    return Matryoshka({length: build_one(length) for length in sorted({*stage.matryoshka, dim})})


def _build_with_memory(stage: StageSettings, term: LossTerm, counts: list[int], dim: int) -> nn.Module:
    loss = build_loss(term, counts, dim)
    if not stage.memory or "extra" not in inspect.signature(loss.forward).parameters:
        return loss
    return CrossBatchMemory(loss, stage.memory, dim, stage.memory_warm_up)


def _has_memory(loss: nn.Module) -> bool:
    return any(isinstance(part, CrossBatchMemory) for part in loss.modules())
