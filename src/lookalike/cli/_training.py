"""From the values of `lookalike train` to what the training loop is made of."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from lookalike.config.wording import join_words as listed
from lookalike.errors import ConfigError, LookalikeError

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator

    from lookalike.cli._sampler import Make
    from lookalike.cli.train import Config
    from lookalike.data.cache import Cache
    from lookalike.data.table import Table
    from lookalike.losses.modifiers import Terms
    from lookalike.model.embedder import EmbeddingModel
    from lookalike.training.components import RunComponents, StageConfig, TrainSettings
    from lookalike.training.teacher import Teacher

log = logging.getLogger(__name__)


def stage_configs(config: "Config") -> "list[Config]":
    """The values of each stage; one without `stages`.

    Raises:
        ConfigError: a stage changes what must stay for the whole run, or a value of it is wrong.
    """
    from lookalike.config import apply_changes

    configs = []
    whole = config.model_copy(update={"stages": []})
    for number, changes in enumerate(config.stages, 1):
        prefix = f"stages: the {number}. stage"
        for key in changes:
            if key.split(".")[0] not in config.stage_keys():
                raise ConfigError(
                    f"{prefix}: {key} holds for the whole run; a stage may change "
                    + ", ".join(config.stage_keys())
                )
        with _advise_on_stages(number, len(config.stages)):
            stage = apply_changes("train", whole, changes, prefix)
        if stage.epochs < 1:
            raise ConfigError(f"{prefix}: epochs={stage.epochs}: a stage has at least one epoch")
        configs.append(stage)
    return configs or [config]


@contextmanager
def _advise_on_stages(number: int, count: int) -> Iterator[None]:
    """Name the stage in an error, and how to train without stages that do not fit the model or loss."""
    try:
        yield
    except ConfigError as error:
        if not count:
            raise
        prefix = f"stages: the {number}. stage: "
        raise ConfigError(
            f"{prefix}{str(error).removeprefix(prefix)}\nIf the stages of a recipe do not fit your backbone "
            "or loss: stages=[] trains in one stage of epochs=…, and stages=[{epochs: 4, freeze: "
            "[backbone]},{epochs: 8}] are stages for any model"
        ) from error


def make_parts(config: "Config", device: "torch.device", accelerator: "Accelerator") -> "RunComponents":
    """What a run is made of, as it starts.

    Raises:
        ConfigError: values do not go together, or not with the data.
    """
    from accelerate.utils import set_seed

    from lookalike.cli._losses import Losses, check_heads, class_counts
    from lookalike.cli._sampler import build_sampler
    from lookalike.config import build
    from lookalike.data.datasets import drop_classes_below, join_tables, read_tables, split_validation
    from lookalike.machine import choose_workers, configure_memory
    from lookalike.trackers.group import Trackers
    from lookalike.training.checkpoint import Checkpoints
    from lookalike.training.components import RunComponents
    from lookalike.training.freeze import refreeze, trainable
    from lookalike.training.initialization import whiten_head

    configs = stage_configs(config)
    for stage in configs:
        check_heads(stage)
    trackers = Trackers({name: build(node, f"tracker.{name}") for name, node in config.tracker.items()})
    teacher = _teacher(config, configs, accelerator)
    configure_memory(config.threads)
    set_seed(config.seed)
    tables = read_tables(config.dataset, config.data_dir)
    table = drop_classes_below(join_tables(tables), config.min_per_class)
    table = split_validation(table, config.val_share, config.seed)
    train = table.split("train")
    if train.frame["label"].n_unique() == 1:
        log.warning("all %d training images are of one class, so there is nothing to tell apart", len(train))
    samplers = [build_sampler(stage, train, tables) for stage in configs]
    model = _model(config)
    learns = trainable(model)
    workers = choose_workers(config.workers, device)
    losses = Losses(train, model, teacher, workers, accelerator.num_processes)
    plans = [
        _plan(stage, model, partial(losses.make, stage, configs[number - 1] if number else None), sampler)
        for number, (stage, sampler) in enumerate(zip(configs, samplers, strict=True))
    ]
    validation = table.split("val") if (table.frame["split"] == "val").any() else None
    for number, (stage, plan) in enumerate(zip(configs, plans, strict=True), 1):
        with _advise_on_stages(number, len(config.stages)):
            refreeze(model, learns, stage.freeze, stage.unfreeze)
            _check(stage, plan, model, losses.trial(stage), len(class_counts(train)), validation, device)
    model.to(device)
    starts = config.head_start == "whitened" and model.backbone.pretrained and any(c.epochs for c in configs)
    if starts and not Checkpoints(config.out / "state").all():
        whiten_head(model, train, config.seed, losses.workers)
    settings = _settings(config)
    return RunComponents(model, learns, plans, settings, train, validation, accelerator, trackers, teacher)


def _teacher(config: "Config", configs: "Sequence[Config]", accelerator: "Accelerator") -> "Teacher | None":
    """The model to learn from.

    Raises:
        ConfigError: it cannot be used, or there is none where a stage wants one.
    """
    from lookalike.data.transforms import Resize
    from lookalike.training.teacher import Teacher, read_teacher

    for number, stage in enumerate(configs, 1):
        if stage.distill_only and not (config.teacher and stage.distill_weight):
            prefix = f"stages: the {number}. stage: " if len(configs) > 1 else ""
            raise ConfigError(
                f"{prefix}distill_only=true: give a teacher=FOLDER, and a distill_weight above 0"
            )
    if config.teacher is None:
        return None
    if not any(stage.distill_weight for stage in configs):
        raise ConfigError("distill_weight=0: nothing is learned from the teacher; raise it, or teacher=null")
    student = Resize(config.image_size, config.resize)
    return Teacher(read_teacher(config.teacher, config.out, student), accelerator, config.chunk)


def _check(
    config: "Config",
    plan: "StageConfig",
    model: "EmbeddingModel",
    loss: "Terms",
    classes: int,
    validation: "Table | None",
    device: "torch.device",
) -> None:
    """Find out, before anything is trained, what a stage's optimiser and schedule would stumble over.

    Raises:
        ConfigError: the optimiser does not fit the losses, a name pattern matches nothing, or the schedule
            refuses its values or wants a score that there is not, or the loss is to choose the best epoch and
            has no value on validation identities.
    """
    from lookalike.training.curvature import SampledLabelLoss
    from lookalike.training.groups import check_optimizer, parameter_groups
    from lookalike.training.plateau import Plateau
    from lookalike.training.sophia import Sophia
    from lookalike.training.validation import bound_terms

    parameter_groups(model, loss, plan)
    if isinstance(check_optimizer(plan.optimizer, config.class_sample < 1, device), Sophia):
        SampledLabelLoss(loss)
    plan.schedule(0.0)
    if isinstance(plan.schedule, Plateau) and validation is None:
        raise ConfigError(
            "scheduler=plateau: waits for the validation score, and there is no validation split; set "
            "val_share=0.1, or take another scheduler"
        )
    bound = bound_terms(loss, classes) if config.best_metric == "loss" else []
    if bound:
        raise ConfigError(
            f"best_metric=loss: {listed(bound)} is bound to the training classes or to a teacher, "
            "so the loss has no value on validation identities; choose a metric, such as best_metric=map@r"
        )


def _model(config: "Config") -> "EmbeddingModel":
    """The model as it starts.

    Raises:
        ConfigError: a part is the user's own, and a saved model could not be loaded again.
    """
    parts = {"backbone": config.backbone, "pooling": config.pooling, "head": config.head}
    custom_parts = [
        name for name, node in parts.items() if not str(node.get("_target_")).startswith("lookalike.")
    ]
    if not custom_parts:
        return _build_model(config)
    try:
        model = _build_model(config)
        model.check_description()
    except (AttributeError, KeyError, TypeError, ValueError, LookalikeError) as error:
        raise ConfigError(
            f"{listed(custom_parts)}: once trained, the model could not be loaded again: {error}. A model "
            "folder "
            "names no code, so its parts are of the kinds that Lookalike knows; register an architecture of "
            "your own with timm (backbone=timm), or train any module in a loop of your own"
        ) from error
    return model


def _build_model(config: "Config") -> "EmbeddingModel":
    from lookalike.config import build
    from lookalike.data.transforms import Resize
    from lookalike.model import embedder

    backbone = build(config.backbone, "backbone")
    resize = Resize(config.image_size, config.resize, backbone.interpolation)
    head, pool = build(config.head, "head"), build(config.pooling, "pooling")
    return embedder.build(backbone, pool, head, config.dim, resize, config.normalise)


def _settings(config: "Config") -> "TrainSettings":
    from lookalike.training.components import TrainSettings

    return TrainSettings(
        average=config.average,
        compiled=config.compile,
        best_metric=config.best_metric,
        far=config.far,
        keep_epochs=config.keep_epochs,
        seed=config.seed,
        workers=config.workers,
        progress=config.progress,
        save_minutes=config.save_minutes,
        cache=_cache(config),
    )


def _cache(config: "Config") -> "Cache | None":
    from lookalike.data.cache import Cache

    if config.cache is None:
        return None
    side = config.cache_side or round(config.image_size * 8 / 7)
    if side < config.image_size:
        log.warning(
            "cache_side=%d is less than image_size=%d: training sees enlarged images, evaluation does not",
            *(side, config.image_size),
        )
    try:
        return Cache(config.cache, side, int(config.cache_gb * 1e9))
    except OSError as error:
        raise ConfigError(f"cache={config.cache} cannot be written: {error.strerror or error}") from error


def _plan(
    config: "Config", model: "EmbeddingModel", losses: "partial[Terms]", sampler: "Make"
) -> "StageConfig":
    from lookalike.cli._augment import build_augment
    from lookalike.config import build
    from lookalike.data.random_crop import RandomCrop
    from lookalike.training.components import StageConfig
    from lookalike.training.mixing import Mixing

    keep = config.keep_statistics
    augment = build_augment(config.augment, config.image_size, config.resize)
    if isinstance(augment, RandomCrop) and config.resize == "letterbox":
        log.warning(
            "augment=crop shows parts without borders, evaluation all of an image between borders "
            "(resize=letterbox); augment=standard shows both alike"
        )
    return StageConfig(
        epochs=config.epochs,
        losses=losses,
        sampler=sampler,
        augment=augment,
        optimizer=build(config.optimizer, "optimizer"),
        schedule=build(config.scheduler, "scheduler", epochs=config.epochs),
        lr=config.lr,
        backbone_lr=config.backbone_lr,
        loss_lr=config.loss_lr,
        layer_decay=config.layer_decay,
        rates=config.rates,
        freeze=tuple(config.freeze),
        unfreeze=tuple(config.unfreeze),
        chunk=config.chunk,
        accumulate=config.accumulate,
        clip=config.clip,
        keep_statistics=model.backbone.pretrained if keep is None else keep,
        mixing=Mixing(config.mixup, config.cutmix, config.mix_share, config.seed),
        small_size=config.small_size,
        small_share=config.small_share,
        patience=config.patience,
    )
