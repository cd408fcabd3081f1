"""The job `train`: a dataset folder becomes a run folder."""

import logging
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

log = logging.getLogger(__name__)
Node = dict[str, Any]
FIXED = frozenset(
    (
        *("dataset", "out", "data_dir", "val_share", "seed", "best_metric", "average", "stages", "resume"),
        "far",
        "keep_epochs",
        *(
            "image_size",
            "resize",
            "normalise",
            "cache",
            "cache_side",
            "cache_gb",
            "dim",
            "backbone",
            "pooling",
            "head",
            "head_start",
            "proxy_start",
        ),
        *("amp", "compile", "shard_classes", "workers", "threads", "device", "progress", "save_minutes"),
        *("processes", "tracker", "min_per_class", "teacher"),
    )
)
"""Keys that hold for the whole run, whatever its stages."""


class Resume(BaseModel):
    """What may differ when a stopped run goes on."""

    allow: list[str] = Field(description="keys that may differ from those the run was started with: [epochs]")


class Config(BaseModel):
    """The keys of `lookalike train`; their defaults are in conf/train.yaml."""

    dataset: str | list[str] = Field(
        description="dataset folder, table file, or name of a set under data_dir; [a,b] joins several"
    )
    out: Path = Field(description="run folder to write; a stopped run with the same values goes on in it")
    epochs: int = Field(ge=0, description="how often every image is seen; 0 keeps the untrained model")
    dataset_weights: list[Annotated[float, Field(gt=0)]] = Field(
        description="share of every batch that each dataset fills, [2,1]; [] shows each image equally often"
    )
    min_per_class: Annotated[int, Field(ge=1)] = Field(
        description="leave out of training classes with fewer training images"
    )
    undersample: int | None = Field(
        ge=1, description="images that a class shows in an epoch at most, others in each epoch; null for all"
    )
    oversample: int | None = Field(
        ge=1, description="images that a class shows in an epoch at least, repeated if it has fewer"
    )
    image_size: Annotated[int, Field(ge=8, le=4096)] = Field(
        description="side of the square the model sees, pixels"
    )
    resize: Literal["squash", "crop", "letterbox"] = Field(
        description="how images become square: distorted, cut at the longer side, or with borders"
    )
    normalise: Literal["backbone", "image"] = Field(
        description="how pixels are scaled: as the backbone expects, or each image to mean 0 and deviation 1"
    )
    dim: Annotated[int, Field(ge=2, le=65536)] = Field(description="numbers in an embedding")
    head_start: Literal["whitened", "random"] = Field(
        description="what a linear head starts as: fitted to the features of a pretrained backbone, or random"
    )
    proxy_start: Literal["class_means", "random"] = Field(
        description="what proxies start as: the mean of their class, if the backbone is pretrained, or random"
    )
    lr: float = Field(gt=0, description="learning rate of the head and pooling")
    backbone_lr: float = Field(ge=0, description="learning rate of the backbone")
    loss_lr: float = Field(gt=0, description="learning rate of what the loss learns, such as proxies")
    layer_decay: Annotated[float, Field(gt=0, le=1)] = Field(
        description="factor on backbone_lr from layer to layer, away from the head; 1 for one rate"
    )
    rates: dict[str, Annotated[float, Field(ge=0)]] = Field(
        description="learning rates of single parts, by name pattern: {backbone.net.blocks.6: 0.001}"
    )
    chunk: int | None = Field(
        ge=1,
        description="images in memory at once, for large batches in little memory; null takes the batch",
    )
    accumulate: Annotated[int, Field(ge=1)] = Field(
        description="batches to a step: their gradients are averaged, but each batch has its own loss"
    )
    clip: float | None = Field(
        gt=0, description="longest gradient, longer ones are scaled down; null for no limit"
    )
    keep_statistics: bool | None = Field(
        description="keep the backbone's batch-norm statistics as they are; null does so if it is pretrained"
    )
    small_size: int = Field(
        ge=0, description="train the first epochs on smaller images of this size; 0 for none"
    )
    small_share: Annotated[float, Field(ge=0, le=1)] = Field(
        description="share of the epochs that use small_size"
    )
    average: Annotated[float, Field(ge=0, lt=1)] = Field(
        description="decay of the moving average of weights that is judged and kept; 0 for none"
    )
    class_sample: Annotated[float, Field(gt=0, le=1)] = Field(
        description="share of the classes that a loss with a margin head looks at in each step; 1 for all"
    )
    shard_classes: bool = Field(
        description="divide the classes of margin heads among the processes, for more than one can hold"
    )
    memory: int = Field(
        ge=0, description="embeddings of past batches that each batch is compared with, too; 0 for none"
    )
    memory_warm_up: int = Field(ge=0, description="batches before the memory is used")
    matryoshka: list[Annotated[int, Field(ge=2)]] = Field(
        description="lengths that an embedding may be cut to, [32,64,128]: the loss teaches each; [] for none"
    )
    mixup: Annotated[float, Field(ge=0, le=1000)] = Field(
        description="blend images in pairs, for losses with proxies: alpha, such as 0.2; 0 for none"
    )
    cutmix: Annotated[float, Field(ge=0, le=1000)] = Field(
        description="put a box of one image into another, for losses with proxies: alpha, as 1; 0 for none"
    )
    mix_share: Annotated[float, Field(ge=0, le=1)] = Field(
        description="share of the batches that mixup and cutmix change"
    )
    teacher: Path | None = Field(
        description="model or run folder whose embeddings the model learns to give; null for none"
    )
    distill: Literal["cosine", "l1", "l2", "relational", "similarity"] = Field(
        description="what is learned: the teacher's vectors (cosine, l1, l2) or how images lie to each other"
    )
    distill_weight: Annotated[float, Field(ge=0)] = Field(
        description="what the teacher counts beside the losses; 0 leaves it out"
    )
    distill_only: bool = Field(description="learn from the teacher alone, without the losses and labels")
    freeze: list[str] = Field(
        description="weights that stay as they are, by name pattern: [backbone], ['backbone.net.blocks.[01]']"
    )
    unfreeze: list[str] = Field(description="exceptions from freeze, by name pattern")
    compile: bool = Field(description="translate the model with torch.compile: slow to start, faster after")
    amp: Literal["no", "bf16", "fp16"] = Field(
        description="half precision in training: less memory, faster on GPUs"
    )
    best_metric: str = Field(
        description="validation metric that chooses the state to keep, such as map@r, recall@1, loss"
    )
    far: Annotated[float, Field(gt=0, lt=1)] = Field(
        description="share of different pairs that the model's threshold may accept; chosen on validation "
        "identities when training ends"
    )
    keep_epochs: Literal["best", "all"] = Field(
        description="best keeps the model of the best epoch; all also keeps each epoch's, in OUT/epochs/"
    )
    patience: int | None = Field(
        ge=1,
        description="end training, or a stage, after so many epochs without a better state; null for never",
    )
    val_share: Annotated[float, Field(ge=0, lt=1)] = Field(
        description="share of the classes set aside to choose the best state, if the dataset has no val"
    )
    seed: int = Field(ge=0, lt=2**32, description="same seed, same run")
    workers: int | None = Field(
        ge=0, le=1024, description="processes that read images; null takes what the machine has"
    )
    cache: Path | None = Field(
        description="folder for training images as raw pixels, shrunk: faster from the second epoch on"
    )
    cache_side: int | None = Field(
        ge=8, description="pixels of the shorter side in the cache; null takes 8/7 of image_size"
    )
    cache_gb: float = Field(gt=0, description="gigabytes that the cache may fill; what is beyond is decoded")
    threads: int | None = Field(ge=1, description="CPU threads of the model; null takes what the machine has")
    processes: int | None = Field(
        ge=1,
        le=1024,
        description="processes on this machine that share each batch; null for one, or those of torchrun",
    )
    device: str | None = Field(description="where to compute: cpu, cuda, cuda:1, mps; null takes the best")
    progress: bool = Field(description="show progress bars")
    data_dir: Path = Field(description="folder in which datasets are found by name")
    save_minutes: float = Field(
        gt=0, description="how often to save within an epoch, to go on after a crash; its end is always saved"
    )
    resume: Resume = Field(description="how a stopped run goes on")
    stages: list[dict[str, Any]] = Field(
        description="what each stage of training changes, one after the other: "
        "[{epochs: 4, freeze: [backbone]}, {epochs: 8, loss.triplet.margin: 0.1}]; [] for one stage"
    )
    backbone: Node = Field(description="the network that turns an image into features")
    pooling: Node = Field(description="how a feature map becomes one vector")
    head: Node = Field(description="how that vector becomes an embedding")
    loss: dict[str, Node] = Field(
        min_length=1, description="what training minimises; several are added by weight: loss=[arcface,gor]"
    )
    sampler: Node = Field(description="which images form a batch")
    augment: Node = Field(description="random changes of the training images")
    optimizer: Node = Field(description="how weights follow their gradients")
    scheduler: Node = Field(description="how learning rates change over the run, or over each stage")
    tracker: dict[str, Node] = Field(
        description="where else to follow the run: tracker=[tensorboard], tracker=[mlflow,wandb]; [] for none"
    )

    @classmethod
    def stage_keys(cls) -> list[str]:
        """The keys that may change from stage to stage."""
        return [key for key in cls.model_fields if key not in FIXED]


def main(config: Config) -> Path | None:
    """Train, or go on with what was stopped, and return the run folder (in the main process).

    With `processes` above 1 this process starts so many others, and watches them.
    """
    from lookalike.training.launch import launch, must_launch
    from lookalike.training.worker import LEVEL

    if must_launch(config.processes):
        level = logging.getLogger("lookalike").getEffectiveLevel()
        arguments = {"config": config.model_dump(mode="json"), LEVEL: level}
        launch("lookalike.cli._rank", arguments, config.processes or 1)
        return config.out
    return train_in_process(config)


def train_in_process(config: Config) -> Path | None:
    """`main` in this process, which may be one of several."""
    from lookalike.cli._training import make_parts, stage_configs
    from lookalike.machine import choose_device
    from lookalike.training.processes import make_accelerator, peer_processes, run_on_main
    from lookalike.training.resume import check_may_start, lock_run_folder
    from lookalike.training.run import run
    from lookalike.training.validation import check_metric

    stage_configs(config)
    device = choose_device(config.device)
    accelerator = make_accelerator(config.amp, device, config.processes)
    check_metric(config.best_metric)
    values = config.model_dump(mode="json")
    with peer_processes(), ExitStack() as stack:
        if run_on_main(accelerator, lambda: check_may_start(config.out, values, config.resume.allow)):
            parts = make_parts(config, device, accelerator)
            run_on_main(accelerator, lambda: stack.enter_context(lock_run_folder(config.out)))
            run(parts, config.out, values)
        else:
            log.info("%s is finished: nothing to do", config.out)
    return config.out if accelerator.is_main_process else None


def train(dataset: str | Path | list[str] | list[Path], out: str | Path, **keys: Any) -> Path:
    """Train a model as `lookalike train` does.

    Args:
        dataset: dataset folder or table file, or a list of these.
        out: run folder to write.
        keys: any key of `lookalike train --help`, as `epochs=6` or `**{"loss.triplet.margin": 0.3}`.

    Returns:
        The run folder; `lookalike.load(folder)` is the best model.

    Raises:
        ConfigError: a key or value is wrong.
        LookalikeError: the data cannot be used, or training failed.
    """
    from lookalike.config import load

    named = [str(source) for source in dataset] if isinstance(dataset, list) else str(dataset)
    main(load("train", Config, **{"dataset": named, "out": str(out), **keys}))
    return Path(out)
