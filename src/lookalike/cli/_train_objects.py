"""Python objects that `lookalike.train` takes where the command line takes names."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lookalike.cli._train_keys import Config
from lookalike.data.object_table import as_table
from lookalike.data.random_transform import check_transform
from lookalike.data.table import Table
from lookalike.data.transforms import Resize
from lookalike.errors import ConfigError
from lookalike.model import embedder
from lookalike.model.embedder import EmbeddingModel
from lookalike.model.heads import Identity
from lookalike.model.own_module import OwnModule
from lookalike.training.objects import (
    call_seeded,
    describe,
    loss_of_object,
    name_losses,
    refuse_uncallable,
    sampler_of_object,
)
from lookalike.training.settings import LossTerm, SamplerChoice, StageSettings

log = logging.getLogger(__name__)
RATES = ("lr", "backbone_lr", "loss_lr")
MODEL_KEYS = ("backbone", "pooling", "head", "dim", "normalise")


@dataclass
class Objects:
    """The objects among the arguments of `lookalike.train`; None, or empty, where there are names.

    Attributes:
        losses: the terms that are objects, by name.
        named_losses: whether some of the losses are names.
    """

    model: nn.Module | None = None
    tables: dict[str, Table] | None = None
    losses: dict[str, LossTerm] = field(default_factory=dict)
    named_losses: bool = False
    sampler: SamplerChoice | None = None
    optimizer: Callable[..., Any] | None = None
    schedule: Callable[[float], float] | None = None
    augment: Callable[..., Any] | None = None
    record: dict[str, Any] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.record)


def take_objects(keys: dict[str, Any]) -> Objects:
    """Move the objects out of the keys, which then hold only what the command line could hold.

    Args:
        keys: changed in place.

    Raises:
        ConfigError: an object cannot be used.
    """
    objects = Objects()
    _take_dataset(keys, objects)
    _take_losses(keys, objects)
    _take_sampler(keys, objects)
    _take_optimizer(keys, objects)
    for name, field_name in (("scheduler", "schedule"), ("augment", "augment")):
        value = keys.get(name)
        if name in keys and not _is_named(value):
            refuse_uncallable(name, value)
            setattr(objects, field_name, keys.pop(name))
            objects.record[name] = {"object": describe(value)}
    if isinstance(objects.schedule, type):
        raise ConfigError(
            f"schedule={describe(objects.schedule)}: a schedule is a function from the share of training "
            "done, 0 to 1, to the factor on the learning rates, such as lambda share: 1 - share; torch's "
            "schedulers need an optimizer that is not there yet"
        )
    _take_model(keys, objects)
    _check_tensors(keys, objects)
    return objects


def fit_stage(stage: StageSettings, objects: Objects, config: Config, changed: set[str]) -> StageSettings:
    """A stage's settings with the objects in their places.

    Args:
        stage: as the names say.
        objects: those of the run.
        config: the values of the stage.
        changed: groups that the stage itself chooses by name; they stay.
    """
    changes: dict[str, Any] = {}
    if objects.losses and "loss" not in changed:
        changes["losses"] = {**(stage.losses if objects.named_losses else {}), **objects.losses}
    if objects.sampler and "sampler" not in changed:
        seeded = partial(call_seeded, objects.sampler, config.seed)
        changes["sampler"] = replace(objects.sampler, make=seeded)
    if objects.optimizer and "optimizer" not in changed:
        changes["optimizer"] = objects.optimizer
    if objects.schedule and "scheduler" not in changed:
        changes["schedule"] = objects.schedule
    if objects.augment and "augment" not in changed:
        check_transform(objects.augment, config.image_size)
        changes["augment"] = objects.augment
    return replace(stage, **changes)


def make_own_model(module: nn.Module, config: Config, keys: Mapping[str, Any]) -> EmbeddingModel:
    """An embedding model around a module of the user's own; an EmbeddingModel as it is.

    Args:
        module: the object.
        config: all values.
        keys: those that were given: without head= and dim= the module's output is the embedding.
    """
    from lookalike.config import build

    if isinstance(module, EmbeddingModel):
        return module
    backbone = OwnModule(module, config.image_size)
    has_head = any(key.split(".")[0] in ("head", "dim") for key in keys)
    head = build(config.head, "head") if has_head else Identity
    resize = Resize(config.image_size, config.resize, "bilinear")
    return embedder.build(
        backbone, build(config.pooling, "pooling"), head, config.dim, resize, config.normalise
    )


def _is_named(value: Any) -> bool:
    """Whether this is something that the command line could hold."""
    if isinstance(value, list | tuple):
        return all(map(_is_named, value))
    return value is None or isinstance(value, str | Mapping)


def _take_dataset(keys: dict[str, Any], objects: Objects) -> None:
    dataset = keys["dataset"]
    sources = dataset if isinstance(dataset, list | tuple) else [dataset]
    if all(isinstance(each, str | Path) for each in sources):
        keys["dataset"] = [str(each) for each in sources] if sources is dataset else str(dataset)
        return
    if len(sources) > 1:
        raise ConfigError(
            "dataset: several datasets are joined by their folders; pass a single table or Dataset"
        )
    table = as_table(sources[0])
    title = f"{table.items.name}: " if table.items else ""
    keys["dataset"] = f"{title}table of {len(table)} images in {table.folder}"
    objects.tables = {"dataset": table}
    objects.record["dataset"] = keys["dataset"]


def _take_losses(keys: dict[str, Any], objects: Objects) -> None:
    value = keys.get("loss")
    if value is None or _is_config_loss(value):
        return
    losses = dict(value) if isinstance(value, Mapping) else name_losses(value)
    names: list[str] = []
    del keys["loss"]
    for name, entry in losses.items():
        weight, loss = entry if isinstance(entry, tuple) and len(entry) == 2 else (1.0, entry)
        if isinstance(weight, bool) or not isinstance(weight, int | float):
            raise ConfigError(f"loss {name}: {entry!r} is not (weight, loss)")
        if isinstance(loss, str):
            if loss != name:
                raise ConfigError(
                    f"loss {name}: the loss {loss!r} keeps its own name, {{{loss!r}: (1.0, {loss!r})}}"
                )
            names.append(name)
            if isinstance(entry, tuple):
                keys[f"loss.{name}.weight"] = float(weight)
            continue
        objects.losses[name] = loss_of_object(name, float(weight), loss)
        objects.record.setdefault("loss", {})[name] = {"weight": float(weight), "object": describe(loss)}
    objects.named_losses = bool(names)
    if names:
        keys["loss"] = names


def _is_config_loss(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(isinstance(entry, Mapping) for entry in value.values())
    return _is_named(value)


def _take_sampler(keys: dict[str, Any], objects: Objects) -> None:
    if "sampler" not in keys or (_is_named(keys["sampler"]) and not _holds_rows(keys["sampler"])):
        return
    sampler = keys.pop("sampler")
    objects.record["sampler"] = {"object": describe(sampler)}
    objects.sampler = sampler_of_object(sampler)


def _holds_rows(value: Any) -> bool:
    return isinstance(value, list | tuple) and not all(isinstance(each, str) for each in value)


def _take_optimizer(keys: dict[str, Any], objects: Objects) -> None:
    optimizer = keys.get("optimizer")
    if "optimizer" not in keys or _is_named(optimizer):
        return
    if isinstance(optimizer, torch.optim.Optimizer):
        name = type(optimizer).__name__
        raise ConfigError(
            f"optimizer: is already built, and training chooses its parameters: pass the class or "
            f"functools.partial({name}, …)"
        )
    refuse_uncallable("optimizer", optimizer)
    objects.optimizer = keys.pop("optimizer")
    objects.record["optimizer"] = {"object": describe(optimizer)}
    rate = optimizer.keywords.get("lr") if isinstance(optimizer, partial) else None
    if rate is None:
        return
    set_rates = [name for name in RATES if name in keys]
    if set_rates:
        raise ConfigError(
            f"optimizer: has lr={rate}, and {', '.join(set_rates)} is given as well; leave out one"
        )
    keys |= dict.fromkeys(RATES, rate)
    log.info(
        "the optimizer's lr=%g is that of all parts; lr=, backbone_lr= and loss_lr= set them apart", rate
    )


def _take_model(keys: dict[str, Any], objects: Objects) -> None:
    model = keys.pop("model", None)
    if model is None:
        return
    if not isinstance(model, nn.Module):
        hint = "; a network is chosen by name with backbone=" if isinstance(model, str) else ""
        raise ConfigError(f"model={model!r}: must be an EmbeddingModel or a torch module{hint}")
    objects.model = model
    objects.record["backbone"] = {"object": describe(model)}
    model_keys = [key for key in keys if key.split(".")[0] in MODEL_KEYS]
    refused = (
        model_keys
        if isinstance(model, EmbeddingModel)
        else [k for k in model_keys if k.split(".")[0] == "backbone"]
    )
    if refused:
        raise ConfigError(
            f"{', '.join(refused)}: model= is given, which already has that; leave out one of them"
        )
    if isinstance(model, EmbeddingModel):
        for name, model_value in (("image_size", model.resize.size), ("resize", model.resize.how)):
            if keys.get(name, model_value) != model_value:
                raise ConfigError(
                    f"{name}={keys[name]}: the model reads {name}={model_value}; leave out {name}="
                )
            keys[name] = model_value
        keys["dim"] = model.dim
    elif "backbone_lr" not in keys and "lr" in keys:
        keys["backbone_lr"] = keys["lr"]
        log.info("model: its weights learn at lr=%g; backbone_lr= gives another rate", keys["lr"])


def _check_tensors(keys: dict[str, Any], objects: Objects) -> None:
    """Images that are tensors already are used as they are: nothing may be asked of them that is not done."""
    items = next((t.items for t in (objects.tables or {}).values() if t.items and t.items.tensor_shape), None)
    if items is None or items.tensor_shape is None:
        return
    side = items.tensor_shape[1]
    refused = [key for key in keys if key.split(".")[0] in ("augment", "cache")]
    refused += ["transform"] if objects.augment else []
    if refused:
        raise ConfigError(
            f"{', '.join(refused)}: {items.name} gives tensors, which are used as they are; let it give PIL "
            "images, or apply the transform in it"
        )
    if keys.get("image_size", side) != side:
        raise ConfigError(f"image_size={keys['image_size']}: {items.name} gives tensors of {side} × {side}")
    keys["image_size"] = side
    log.info("%s gives tensors of %d px, which are used as they are: augment= is ignored", items.name, side)
