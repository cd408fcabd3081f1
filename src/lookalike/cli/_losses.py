"""From the loss nodes of a config to the one loss that training holds."""

import inspect
from functools import partial
from typing import TYPE_CHECKING, Any

from lookalike.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn

    from lookalike.cli.train import Config
    from lookalike.data.table import Table
    from lookalike.losses.modifiers import Terms
    from lookalike.model.embedder import EmbeddingModel
    from lookalike.training.teacher import Teacher

Node = dict[str, Any]
DISTILL = "distill"
"""The name of what a teacher teaches, among the losses."""


class Losses:
    """Makes the losses of each stage; those of the stage before go on where nothing about them changed.

    Args:
        train: the training images.
        model: embeds them, so that proxies can start at the means of their classes.
        teacher: what the model may learn from besides.
        workers: processes that read images.
        processes: how many train together.
    """

    def __init__(
        self, train: "Table", model: "EmbeddingModel", teacher: "Teacher | None", workers: int, processes: int
    ):
        self.train, self.model, self.teacher = train, model, teacher
        self.workers, self.processes = workers, processes

    def trial(self, config: "Config") -> "Terms":
        """The losses of a stage, only to see whether they can be built.

        Raises:
            ConfigError: see `build_losses` and `share_classes`.
        """
        import torch

        with torch.random.fork_rng([]):
            loss = self._build(config)
            share_classes(loss, config, self.processes)
        return loss

    def make(
        self, config: "Config", earlier: "Config | None", before: "Terms | None", fresh: bool
    ) -> "Terms":
        """The losses of a stage.

        Args:
            config: the stage's values.
            earlier: those of the stage before; None for the first.
            before: the losses of the stage before; None for the first, or where a checkpoint follows.
            fresh: start new proxies from the data.
        """
        from lookalike.training.initialization import start_proxies

        loss = self._build(config)
        started = earlier is not None or self.model.backbone.pretrained
        if fresh and started and config.epochs and config.proxy_start == "class_means":
            start_proxies(loss, self.model, self.train, config.seed, self.workers)
        share_classes(loss, config, self.processes)
        if before is not None and earlier is not None:
            for name in loss.losses:
                if name in before.losses and _describe_loss(config, name) == _describe_loss(earlier, name):
                    loss.losses[name] = before.losses[name]
        return loss

    def _build(self, config: "Config") -> "Terms":
        taught = None if self.teacher is None else self.teacher.dim
        return build_losses(config, self.train, self.model.dim, taught)


def _describe_loss(config: "Config", name: str) -> tuple[Any, ...]:
    """All that a loss is built from, but for its weight."""
    if name == DISTILL:
        return (config.distill,)
    node = {key: value for key, value in config.loss[name].items() if key != "weight"}
    return node, config.memory, config.memory_warm_up, config.matryoshka, config.class_sample


def build_losses(config: "Config", train: "Table", dim: int, teacher_dim: int | None = None) -> "Terms":
    """The weighted sum of the config's losses, each with what modifies it, and of what a teacher teaches.

    Args:
        config: the values of a stage.
        train: the training images.
        dim: length of the embeddings.
        teacher_dim: of the teacher's; None without one.

    Raises:
        ConfigError: a loss refuses its values, a length is longer than the embeddings, a memory is asked for
            and no loss compares images with images, or images are mixed and a loss cannot be told so.
    """
    from lookalike.losses.distillation import Distillation
    from lookalike.losses.modifiers import Terms

    counts, nodes = class_counts(train), {} if config.distill_only else config.loss
    built = {
        name: (node.get("weight", 1.0), _build_with_lengths(config, name, node, counts, dim))
        for name, node in nodes.items()
    }
    _check_mixing(config, built)
    if teacher_dim and config.distill_weight:
        built[DISTILL] = (config.distill_weight, Distillation(dim, teacher_dim, config.distill))
    if not any(weight for weight, _ in built.values()):
        raise ConfigError(
            f"{', '.join(f'loss.{name}.weight=0' for name in built)}: nothing is left to minimise; "
            "give a loss a weight above 0"
        )
    losses = [loss for _, loss in built.values()]
    if config.memory and not any(_has_memory(loss) for loss in losses):
        raise ConfigError(
            f"memory={config.memory}: none of {', '.join(built)} compares images with images; "
            "take one that does, such as multi_similarity, or memory=0"
        )
    try:
        return Terms(built)
    except ValueError as error:
        raise ConfigError(f"{error} (loss.NAME.weight)") from error


def _check_mixing(config: "Config", built: "dict[str, tuple[float, nn.Module]]") -> None:
    from lookalike.training.mixing import takes_mixed

    if not config.mix_share or not (config.mixup or config.cutmix):
        return
    refused = [name for name, (_, loss) in built.items() if not takes_mixed(loss)]
    if refused:
        setting = f"mixup={config.mixup}" if config.mixup else f"cutmix={config.cutmix}"
        raise ConfigError(
            f"{setting}: {', '.join(refused)} compares images by their classes, and a mixed image is of two: "
            "take losses with proxies, such as arcface or proxy_anchor, or mixup=0 cutmix=0"
        )


def share_classes(loss: "Terms", config: "Config", processes: int) -> None:
    """Let margin heads look at some classes at a time, or hold some, as the config asks; changed in place.

    Raises:
        ConfigError: no loss is a margin head, or there is one process only.
    """
    from lookalike.losses.sharded import divide_classes

    key = _class_division_key(config)
    if not key:
        return
    if config.shard_classes and processes == 1:
        raise ConfigError(f"{key}: there is one process, so nothing to divide; start several with torchrun")
    if config.shard_classes and config.amp == "fp16":
        raise ConfigError(f"{key}: in fp16 processes may skip different steps; take amp=bf16")
    try:
        divided = divide_classes(loss, config.class_sample, config.shard_classes)
    except ValueError as error:
        raise ConfigError(f"{key}: {error}") from error
    if not divided:
        raise ConfigError(_missing_heads_error(key, config))


def check_heads(config: "Config") -> None:
    """Refuse, before anything is read, to divide the classes where no loss can be a margin head.

    Raises:
        ConfigError: all losses are Lookalike's, and none is one. One of the user's own may hold one.
    """
    from hydra.utils import get_object

    from lookalike.losses import MarginHead

    key = _class_division_key(config)
    paths = [] if config.distill_only else [str(node.get("_target_", "")) for node in config.loss.values()]
    if not key or not all(path.startswith("lookalike.") for path in paths):
        return
    if not any(issubclass(get_object(path), MarginHead) for path in paths):
        raise ConfigError(_missing_heads_error(key, config))


def _class_division_key(config: "Config") -> str:
    """The key by which classes are to be divided; empty without one."""
    if config.shard_classes:
        return "shard_classes=true"
    return "" if config.class_sample == 1 else f"class_sample={config.class_sample}"


def _missing_heads_error(key: str, config: "Config") -> str:
    names = (
        f"none of {', '.join(config.loss)} is a" if config.loss and not config.distill_only else "there is no"
    )
    return f"{key}: {names} margin head, such as arcface"


def class_counts(train: "Table") -> list[int]:
    """How many images each class has, by class id."""
    import numpy as np

    return np.unique(train.labels, return_counts=True)[1].tolist()


def build_loss(name: str, node: Node, counts: list[int], dim: int) -> "nn.Module":
    """The loss of a node; one that asks for them is told the classes, their images, and the length."""
    from lookalike.config import build

    arguments = {key: value for key, value in node.items() if key != "weight"}
    sizes = {"num_classes": len(counts), "class_counts": counts, "dim": dim}
    return build(arguments, f"loss.{name}", **sizes)


def _build_with_lengths(config: "Config", name: str, node: Node, counts: list[int], dim: int) -> "nn.Module":
    from lookalike.losses.matryoshka import Matryoshka

    build_one = partial(_build_with_memory, config, name, node, counts)
    if not config.matryoshka:
        return build_one(dim)
    if max(config.matryoshka) > dim:
        raise ConfigError(f"matryoshka={config.matryoshka}: an embedding has dim={dim} numbers")
    return Matryoshka({length: build_one(length) for length in sorted({*config.matryoshka, dim})})


def _build_with_memory(config: "Config", name: str, node: Node, counts: list[int], dim: int) -> "nn.Module":
    from lookalike.losses.cross_batch_memory import CrossBatchMemory

    loss = build_loss(name, node, counts, dim)
    if not config.memory or "extra" not in inspect.signature(loss.forward).parameters:
        return loss
    return CrossBatchMemory(loss, config.memory, dim, config.memory_warm_up)


def _has_memory(loss: "nn.Module") -> bool:
    from lookalike.losses.cross_batch_memory import CrossBatchMemory

    return any(isinstance(part, CrossBatchMemory) for part in loss.modules())
