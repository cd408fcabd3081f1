"""From settings and tables to the components of a run."""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed

from lookalike.data.cache import Cache
from lookalike.data.datasets import drop_classes_below, join_tables, split_validation
from lookalike.data.random_crop import RandomCrop
from lookalike.data.table import Table
from lookalike.data.transforms import Resize
from lookalike.errors import ConfigError, advise_on_stages
from lookalike.losses.modifiers import Terms
from lookalike.machine import choose_workers, configure_memory
from lookalike.model.embedder import EmbeddingModel
from lookalike.trackers.group import Trackers
from lookalike.training.checkpoint import Checkpoints
from lookalike.training.components import RunComponents, StageConfig
from lookalike.training.initialization import start_similarity, whiten_head
from lookalike.training.losses import Losses, check_heads, class_counts, matryoshka_dims
from lookalike.training.mixing import Mixing
from lookalike.training.parameters import check_optimizer, parameter_groups, refreeze, trainable
from lookalike.training.plateau import Plateau
from lookalike.training.sampling import Make, build_sampler
from lookalike.training.settings import CacheSettings, StageSettings, TrainSettings
from lookalike.training.sophia import SampledLabelLoss, Sophia
from lookalike.training.teacher import Teacher, read_teacher
from lookalike.training.validation_loss import bound_terms
from lookalike.wording import join_words

log = logging.getLogger(__name__)


def make_components(
    read_tables: Callable[[], Mapping[str, Table]],
    make_model: Callable[[], EmbeddingModel],
    settings: TrainSettings,
    stages: Sequence[StageSettings],
    trackers: Trackers,
    accelerator: Accelerator,
    out: Path,
) -> RunComponents:
    """What a run is made of, as it starts.

    Args:
        read_tables: gives the datasets by name.
        make_model: called after the random numbers are seeded.
        settings: of the run.
        stages: at least one.
        trackers: where the run can be followed besides its folder.
        accelerator: places, scales and shares.
        out: the run folder.

    Raises:
        ConfigError: values do not go together, or not with the data.
    """
    device = accelerator.device
    for stage in stages:
        with advise_on_stages(stage.number):
            check_heads(stage, settings)
    teacher = _make_teacher(settings, stages, accelerator, out)
    configure_memory(settings.threads)
    set_seed(settings.seed)
    tables = read_tables()
    table = drop_classes_below(join_tables(tables), settings.min_per_class)
    table = split_validation(table, settings.val_share, settings.seed)
    train = table.split("train")
    if train.frame["label"].n_unique() == 1:
        log.warning("all %d training images are of one class, so there is nothing to tell apart", len(train))
    samplers = []
    for stage in stages:
        with advise_on_stages(stage.number):
            samplers.append(partial(_make_in_stage, stage.number, build_sampler(stage, train, tables)))
    model = make_model()
    model.matryoshka = matryoshka_dims(stages[-1], model.dim)
    trainable_names = trainable(model)
    workers = choose_workers(settings.workers, device)
    losses = Losses(train, model, teacher, settings, workers, accelerator.num_processes)
    plans = [
        _make_plan(
            *(stage, settings, model),
            *(partial(losses.make, stage, stages[number - 1] if number else None), sampler),
        )
        for number, (stage, sampler) in enumerate(zip(stages, samplers, strict=True))
    ]
    validation = table.split("val") if (table.frame["split"] == "val").any() else None
    similarities: list[float] = []
    for stage, plan in zip(stages, plans, strict=True):
        with advise_on_stages(stage.number):
            refreeze(model, trainable_names, stage.freeze, stage.unfreeze)
            loss = losses.trial(stage)
            similarities.append(start_similarity(loss))
            _check_optimization(stage, plan, model, loss, device)
            _check_validation(settings, plan, loss, len(class_counts(train)), validation)
    model.to(device)
    whiten = settings.head_start == "whitened" and model.backbone.pretrained
    if whiten and any(stage.epochs for stage in stages) and not Checkpoints(out / "state").all():
        whiten_head(model, train, settings.seed, workers, similarities[0])
    return RunComponents(
        *(model, trainable_names, plans, settings, train, validation, accelerator, trackers, teacher),
        cache=open_cache(settings.cache, settings.image_size) if settings.cache else None,
    )


def _make_in_stage(number: int, make: Make, *arguments: Any) -> Any:
    with advise_on_stages(number):
        return make(*arguments)


def _make_teacher(
    settings: TrainSettings, stages: Sequence[StageSettings], accelerator: Accelerator, out: Path
) -> Teacher | None:
    """The model to distil from.

    Raises:
        ConfigError: it cannot be used, or there is none where a stage wants one.
    """
    for stage in stages:
        if stage.distill_only and not (settings.teacher and stage.distill_weight):
            with advise_on_stages(stage.number):
                raise ConfigError("distill_only=true: give a teacher=FOLDER, and a distill_weight above 0")
    if settings.teacher is None:
        return None
    if not any(stage.distill_weight for stage in stages):
        raise ConfigError("distill_weight=0: nothing is learned from the teacher; raise it, or teacher=null")
    student = Resize(settings.image_size, settings.resize)
    return Teacher(read_teacher(settings.teacher, out, student), accelerator, stages[0].chunk)


def _check_optimization(
    stage: StageSettings, plan: StageConfig, model: EmbeddingModel, loss: Terms, device: torch.device
) -> None:
    """Try a stage's optimizer and schedule before anything is trained.

    Raises:
        ConfigError: the optimizer does not fit the losses, a name pattern matches nothing, or the schedule
            rejects its values.
    """
    parameter_groups(model, loss, plan)
    if isinstance(check_optimizer(plan.optimizer, stage.class_sample < 1, device), Sophia):
        SampledLabelLoss(loss)
    plan.schedule(0.0)


def _check_validation(
    settings: TrainSettings, plan: StageConfig, loss: Terms, classes: int, validation: Table | None
) -> None:
    """Check that there is a validation score where one is needed.

    Raises:
        ConfigError: the schedule needs one, or the loss is to choose the best epoch and has no value on
            validation identities.
    """
    if isinstance(plan.schedule, Plateau) and validation is None:
        raise ConfigError(
            "scheduler=plateau: waits for the validation score, and there is no validation split; set "
            "val_share=0.1, or take another scheduler"
        )
    bound = bound_terms(loss, classes) if settings.best_metric == "loss" else []
    if bound:
        raise ConfigError(
            f"best_metric=loss: {join_words(bound)} is bound to the training classes or to a teacher, "
            "so the loss has no value on validation identities; choose a metric, such as best_metric=map@r"
        )


def open_cache(cache: CacheSettings, image_size: int) -> Cache:
    """The cache of shrunk training images.

    Raises:
        ConfigError: it cannot be written.
    """
    side = cache.side or round(image_size * 8 / 7)
    if side < image_size:
        log.warning(
            "cache_side=%d is less than image_size=%d: training sees enlarged images, evaluation does not",
            *(side, image_size),
        )
    try:
        return Cache(cache.folder, side, int(cache.gigabytes * 1e9))
    except OSError as error:
        raise ConfigError(f"cache={cache.folder} cannot be written: {error.strerror or error}") from error


def _make_plan(
    stage: StageSettings, settings: TrainSettings, model: EmbeddingModel, losses: Callable, sampler: Make
) -> StageConfig:
    keep = stage.keep_statistics
    if stage.small_size >= settings.image_size:
        log.warning(
            "small_size=%d is ignored: it is not below image_size=%d, so no epoch uses smaller images",
            *(stage.small_size, settings.image_size),
        )
    if isinstance(stage.augment, RandomCrop) and settings.resize == "letterbox":
        log.warning(
            "augment=crop shows parts without borders, evaluation all of an image between borders "
            "(resize=letterbox); augment=standard shows both alike"
        )
    return StageConfig(
        epochs=stage.epochs,
        losses=losses,
        sampler=sampler,
        augment=stage.augment,
        optimizer=stage.optimizer,
        schedule=stage.schedule,
        lr=stage.lr,
        backbone_lr=stage.backbone_lr,
        loss_lr=stage.loss_lr,
        layer_decay=stage.layer_decay,
        rates=stage.rates,
        freeze=tuple(stage.freeze),
        unfreeze=tuple(stage.unfreeze),
        chunk=stage.chunk,
        accumulate=stage.accumulate,
        clip=stage.clip,
        keep_statistics=model.backbone.pretrained if keep is None else keep,
        mixing=Mixing(stage.mixup, stage.cutmix, stage.mix_share, settings.seed),
        small_size=stage.small_size,
        small_share=stage.small_share,
        patience=stage.patience,
    )
