"""From the checked keys of `lookalike train` to the settings and factories that training takes."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from lookalike.errors import ConfigError, LookalikeError
from lookalike.wording import join_words

if TYPE_CHECKING:
    from lookalike.cli._train_keys import Config
    from lookalike.model.embedder import EmbeddingModel
    from lookalike.trackers.group import Trackers
    from lookalike.training.settings import LossTerm, SamplerChoice, StageSettings, TrainSettings

Node = dict[str, Any]


def train_settings(config: "Config") -> "TrainSettings":
    """What holds for the whole run."""
    from lookalike.training.settings import CacheSettings, TrainSettings

    cache = CacheSettings(config.cache, config.cache_side, config.cache_gb) if config.cache else None
    return TrainSettings(
        image_size=config.image_size,
        resize=config.resize,
        seed=config.seed,
        val_share=config.val_share,
        min_per_class=config.min_per_class,
        head_start=config.head_start,
        proxy_start=config.proxy_start,
        average=config.average,
        compiled=config.compile,
        amp=config.amp,
        shard_classes=config.shard_classes,
        teacher=config.teacher,
        best_metric=config.best_metric,
        far=config.far,
        keep_epochs=config.keep_epochs,
        workers=config.workers,
        threads=config.threads,
        device=config.device,
        processes=config.processes,
        progress=config.progress,
        save_minutes=config.save_minutes,
        cache=cache,
        allow_changes=config.resume.allow,
        defaults=default_values(config),
    )


def default_values(config: "Config") -> dict[str, Any]:
    """Defaults by dotted key: of the job's keys, and of the arguments of what its values build."""
    from lookalike.config import catalogue
    from lookalike.config.signatures import defaults

    result = catalogue.keys("train")

    def walk(node: Any, prefix: str) -> None:
        if not isinstance(node, dict):
            return
        if isinstance(node.get("_target_"), str):
            result.update({f"{prefix}{key}": value for key, value in defaults(node["_target_"]).items()})
        for key, value in node.items():
            walk(value, f"{prefix}{key}.")

    walk(config.model_dump(mode="json"), "")
    return result


def settings_of_stages(config: "Config", stages: Sequence["Config"]) -> "list[StageSettings]":
    """How to train in each stage, from the values of the run and of its stages.

    Raises:
        ConfigError: a value is refused; names the stage, where the run has stages.
    """
    from lookalike.errors import advise_on_stages

    result = []
    for number, stage in enumerate(stages, 1 if config.stages else 0):
        with advise_on_stages(number):
            result.append(replace(stage_settings(stage), number=number))
    return result


def stage_settings(config: "Config") -> "StageSettings":
    """How to train with these values, of the whole run or of a stage.

    Raises:
        ConfigError: augment, optimizer or scheduler refuses its arguments.
    """
    from lookalike.config import build
    from lookalike.data.random_transform import check_transform
    from lookalike.training.settings import StageSettings

    augment = build(config.augment, "augment", size=config.image_size, how=config.resize)
    check_transform(augment, config.image_size)
    return StageSettings(
        epochs=config.epochs,
        losses={name: loss_term(name, node) for name, node in config.loss.items()},
        sampler=sampler_choice(config.sampler),
        augment=augment,
        optimizer=build(config.optimizer, "optimizer"),
        schedule=build(config.scheduler, "scheduler", epochs=config.epochs),
        lr=config.lr,
        backbone_lr=config.backbone_lr,
        loss_lr=config.loss_lr,
        layer_decay=config.layer_decay,
        rates=config.rates,
        freeze=config.freeze,
        unfreeze=config.unfreeze,
        chunk=config.chunk,
        accumulate=config.accumulate,
        clip=config.clip,
        keep_statistics=config.keep_statistics,
        small_size=config.small_size,
        small_share=config.small_share,
        patience=config.patience,
        dataset_weights=config.dataset_weights,
        undersample=config.undersample,
        oversample=config.oversample,
        class_sample=config.class_sample,
        memory=config.memory,
        memory_warm_up=config.memory_warm_up,
        matryoshka=config.matryoshka,
        mixup=config.mixup,
        cutmix=config.cutmix,
        mix_share=config.mix_share,
        distill=config.distill,
        distill_weight=config.distill_weight,
        distill_only=config.distill_only,
    )


def loss_term(name: str, node: Node) -> "LossTerm":
    """The loss that a node describes."""
    from hydra.utils import get_object

    from lookalike.training.settings import LossTerm

    arguments = {key: value for key, value in node.items() if key != "weight"}
    target = get_object(str(node["_target_"])) if "_target_" in node else None
    return LossTerm(node.get("weight", 1.0), partial(_build_loss, name, arguments), arguments, target)


def _build_loss(name: str, node: Node, **sizes: Any) -> Any:
    from lookalike.config import build

    return build(node, f"loss.{name}", **sizes)


def sampler_choice(node: Node) -> "SamplerChoice":
    """The sampler that a node describes."""
    from hydra.utils import get_object

    from lookalike.config import build
    from lookalike.training.settings import SamplerChoice

    make, path = build(node, "sampler"), str(node["_target_"])
    return SamplerChoice(make, get_object(path), node, path.rpartition(".")[2])


def make_trackers(config: "Config") -> "Trackers":
    """Where the run can be followed besides its folder."""
    from lookalike.config import build
    from lookalike.trackers.group import Trackers

    return Trackers({name: build(node, f"tracker.{name}") for name, node in config.tracker.items()})


def make_model(config: "Config") -> "EmbeddingModel":
    """The model as it starts.

    Raises:
        ConfigError: a part is the user's own, and a saved model could not be loaded again.
    """
    parts = {"backbone": config.backbone, "pooling": config.pooling, "head": config.head}
    own_parts = [
        name for name, node in parts.items() if not str(node.get("_target_")).startswith("lookalike.")
    ]
    if not own_parts:
        return _build_model(config)
    try:
        model = _build_model(config)
        model.check_description()
    except (AttributeError, KeyError, TypeError, ValueError, LookalikeError) as error:
        raise ConfigError(
            f"{join_words(own_parts)}: once trained, the model could not be loaded again: {error}. A model "
            "folder names no code, so its parts are of the kinds that Lookalike knows; register an "
            "architecture of your own with timm (backbone=timm), or pass a module in Python: "
            "lookalike.train(…, model=MODULE)"
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
