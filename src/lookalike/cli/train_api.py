"""`lookalike.train`: the job `train` for Python, with objects wherever it has names."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
    from torch.utils.data import Dataset

    from lookalike.cli._train_keys import Config
    from lookalike.cli._train_objects import Objects
    from lookalike.data.table import Table
    from lookalike.training.run_result import Run

    Loss = nn.Module | type[nn.Module] | Callable[..., Any]
    Losses = str | Loss | Sequence[str | Loss] | Mapping[str, Any]


class _Default:
    """Stands for the value in conf/train.yaml, or in the recipe."""

    def __repr__(self) -> str:
        return "default"


DEFAULT: Any = _Default()
ALIASES = {"schedule": "scheduler", "transform": "augment"}
"""Arguments that are another name of a key, where Python has a usual one."""


def train(  # noqa: D417 - the keys are described by `lookalike train --help`
    dataset: "str | Path | Sequence[str | Path] | Table | Dataset[Any] | Mapping[str, Dataset[Any]]",
    out: str | Path,
    *,
    model: "nn.Module | None" = None,
    backbone: str | Mapping[str, Any] = DEFAULT,
    pooling: str | Mapping[str, Any] = DEFAULT,
    head: str | Mapping[str, Any] = DEFAULT,
    loss: "Losses" = DEFAULT,
    sampler: "str | Mapping[str, Any] | Callable[..., Any] | Sequence[Sequence[int]]" = DEFAULT,
    optimizer: "str | Mapping[str, Any] | Callable[..., torch.optim.Optimizer]" = DEFAULT,
    schedule: str | Mapping[str, Any] | Callable[[float], float] = DEFAULT,
    transform: "str | Mapping[str, Any] | Callable[[Any], Tensor]" = DEFAULT,
    epochs: int = DEFAULT,
    image_size: int = DEFAULT,
    dim: int = DEFAULT,
    lr: float = DEFAULT,
    backbone_lr: float = DEFAULT,
    loss_lr: float = DEFAULT,
    seed: int = DEFAULT,
    best_metric: str = DEFAULT,
    val_share: float = DEFAULT,
    device: str | None = DEFAULT,
    amp: Literal["no", "bf16", "fp16"] = DEFAULT,
    workers: int | None = DEFAULT,
    progress: bool = DEFAULT,
    scheduler: str | Mapping[str, Any] | Callable[[float], float] = DEFAULT,
    augment: "str | Mapping[str, Any] | Callable[[Any], Tensor]" = DEFAULT,
    resize: Literal["squash", "crop", "letterbox"] = DEFAULT,
    normalise: Literal["backbone", "image"] = DEFAULT,
    head_start: Literal["whitened", "random"] = DEFAULT,
    proxy_start: Literal["class_means", "random"] = DEFAULT,
    dataset_weights: Sequence[float] = DEFAULT,
    min_per_class: int = DEFAULT,
    undersample: int | None = DEFAULT,
    oversample: int | None = DEFAULT,
    layer_decay: float = DEFAULT,
    rates: Mapping[str, float] = DEFAULT,
    chunk: int | None = DEFAULT,
    accumulate: int = DEFAULT,
    clip: float | None = DEFAULT,
    keep_statistics: bool | None = DEFAULT,
    small_size: int = DEFAULT,
    small_share: float = DEFAULT,
    average: float = DEFAULT,
    class_sample: float = DEFAULT,
    shard_classes: bool = DEFAULT,
    memory: int = DEFAULT,
    memory_warm_up: int = DEFAULT,
    matryoshka: Sequence[int] = DEFAULT,
    mixup: float = DEFAULT,
    cutmix: float = DEFAULT,
    mix_share: float = DEFAULT,
    teacher: str | Path | None = DEFAULT,
    distill: Literal["cosine", "l1", "l2", "relational", "similarity"] = DEFAULT,
    distill_weight: float = DEFAULT,
    distill_only: bool = DEFAULT,
    freeze: Sequence[str] = DEFAULT,
    unfreeze: Sequence[str] = DEFAULT,
    compile: bool = DEFAULT,
    far: float = DEFAULT,
    keep_epochs: Literal["best", "all"] = DEFAULT,
    patience: int | None = DEFAULT,
    cache: str | Path | None = DEFAULT,
    cache_side: int | None = DEFAULT,
    cache_gb: float = DEFAULT,
    threads: int | None = DEFAULT,
    processes: int | None = DEFAULT,
    data_dir: str | Path = DEFAULT,
    save_minutes: float = DEFAULT,
    resume: Mapping[str, Any] = DEFAULT,
    stages: Sequence[Mapping[str, Any]] = DEFAULT,
    tracker: Sequence[str] | Mapping[str, Any] = DEFAULT,
    **dotted: Any,
) -> "Run":
    """Train a model as `lookalike train` does, with names or objects.

    The keys are those of `lookalike train --help`, with the same meaning, checks and defaults.

    Args:
        dataset: dataset folder, table file, or a list of these; a `Table`; a torch Dataset of (image, label),
            or several by split, {"train": …, "val": …}.
        out: run folder to write; a stopped run with the same values is resumed.
        model: an `EmbeddingModel`, or a module that maps float images [B, 3, S, S] in 0…1 to vectors [B, D]
            or feature maps [B, C, h, w]. It is trained in place.
        loss: a name; a module or function (embeddings [B, D], labels [B]) -> scalar; a class or partial that
            gets those of num_classes, class_counts and dim that it takes; a list of these, or a mapping
            from name to loss or (weight, loss).
        sampler: a name; a class, partial or function that makes one from class ids [N]; or the batches
            themselves, as lists of rows of the training images.
        optimizer: a name, a class, or a partial such as partial(AdamW, lr=1e-3).
        schedule: a name, or a function from the share of training done, 0…1, to the factor on learning rates.
        transform: a name, or a function from a PIL image to a uint8 tensor [3, S, S], randomly changed.
        dotted: keys inside of these, as **{"loss.triplet.margin": 0.3}.

    Returns:
        The run: its folder, best model, history and result.

    Raises:
        ConfigError: a key, value or object is wrong.
        LookalikeError: the data cannot be used, or training failed.
    """
    arguments = {**locals(), **dotted}
    values = {k: v for k, v in arguments.items() if v is not DEFAULT and k != "dotted"}
    return _train({**values, "out": str(out)})


def _train(keys: dict[str, Any]) -> "Run":
    from lookalike.cli._train_objects import take_objects
    from lookalike.cli.train import Config, main
    from lookalike.config import load
    from lookalike.errors import ConfigError
    from lookalike.training.launch import must_launch
    from lookalike.training.run_result import Run

    for alias, key in ALIASES.items():
        if alias in keys:
            if key in keys:
                raise ConfigError(f"{alias} and {key} are two names of one key; leave out one of them")
            keys[key] = keys.pop(alias)
    objects = take_objects(keys)
    config = load("train", Config, **{key: _plain(value) for key, value in keys.items()})
    if not objects:
        main(config)
        return Run(config.out)
    if must_launch(config.processes):
        raise ConfigError(
            f"processes={config.processes}: new processes cannot be given Python objects "
            f"({', '.join(objects.record)}); start the script with torchrun --nproc-per-node "
            f"{config.processes}, and leave out processes="
        )
    return _train_with_objects(config, objects, keys)


def _train_with_objects(config: "Config", objects: "Objects", keys: Mapping[str, Any]) -> "Run":
    from lookalike.cli import _train_settings as unpack
    from lookalike.cli._train_objects import fit_stage, make_own_model
    from lookalike.cli.train import stage_configs
    from lookalike.data.datasets import read_tables
    from lookalike.training.run import train as train_run
    from lookalike.training.run_result import Run

    module, tables = objects.model, objects.tables
    if module is not None and "lr" not in keys and "backbone_lr" not in keys:
        config = config.model_copy(update={"backbone_lr": config.lr})  # it has no weights from elsewhere
    configs = stage_configs(config)
    changed = [{key.split(".")[0] for key in changes} for changes in config.stages] or [set[str]()]
    models: list[Any] = []

    def make_model() -> Any:
        models.append(unpack.make_model(config) if module is None else make_own_model(module, config, keys))
        return models[-1]

    train_run(
        read_tables=(lambda: read_tables(config.dataset, config.data_dir))
        if tables is None
        else lambda: tables,
        make_model=make_model,
        settings=unpack.train_settings(config),
        stages=[
            fit_stage(settings, objects, stage, groups)
            for settings, stage, groups in zip(
                unpack.settings_of_stages(config, configs), configs, changed, strict=True
            )
        ],
        make_trackers=lambda: unpack.make_trackers(config),
        out=config.out,
        record={**config.model_dump(mode="json"), **objects.record},
    )
    template = None if module is None else models[-1] if models else make_own_model(module, config, keys)
    return Run(config.out, template)


def _plain(value: Any) -> Any:
    """Tuples as lists, paths inside of lists as text: what a config holds."""
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, Path):
        return str(value)
    return dict(value) if isinstance(value, Mapping) else value
