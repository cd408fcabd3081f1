"""The keys of the job `train`."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

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

    allow: list[str] = Field(
        description="keys whose values may differ from those that the run was started with: [epochs]"
    )


class Config(BaseModel):
    """The keys of `lookalike train`; their defaults are in conf/train.yaml."""

    dataset: str | list[str] = Field(
        description="dataset folder, table file, or name of a dataset in data_dir; [a,b] joins several"
    )
    out: Path = Field(description="run folder to write; the same command resumes an interrupted run")
    epochs: int = Field(ge=0, description="number of epochs; 0 saves the untrained model")
    dataset_weights: list[Annotated[float, Field(gt=0)]] = Field(
        description="relative share of each dataset in a batch, such as [2,1]; [] samples all images "
        "equally often"
    )
    min_per_class: Annotated[int, Field(ge=1)] = Field(
        description="minimum number of training images per class; smaller classes are excluded from training"
    )
    undersample: int | None = Field(
        ge=1, description="maximum images per class and epoch, redrawn every epoch; null uses all"
    )
    oversample: int | None = Field(
        ge=1,
        description="minimum images per class and epoch; images of smaller classes are repeated; null "
        "repeats none",
    )
    image_size: Annotated[int, Field(ge=8, le=4096)] = Field(
        description="side length of the square model input in pixels"
    )
    resize: Literal["squash", "crop", "letterbox"] = Field(
        description="how images are made square: stretched, center-cropped, or padded"
    )
    normalise: Literal["backbone", "image"] = Field(
        description="pixel normalisation: as the backbone expects, or each image to mean 0 and standard "
        "deviation 1"
    )
    dim: Annotated[int, Field(ge=2, le=65536)] = Field(description="embedding dimension")
    head_start: Literal["whitened", "random"] = Field(
        description="initialization of a linear head: PCA whitening of the features of a pretrained "
        "backbone, or random"
    )
    proxy_start: Literal["class_means", "random"] = Field(
        description="initialization of proxies: class means if the backbone is pretrained, or random"
    )
    lr: float = Field(gt=0, description="learning rate of the head and pooling")
    backbone_lr: float = Field(ge=0, description="learning rate of the backbone")
    loss_lr: float = Field(gt=0, description="learning rate of the parameters of the loss, such as proxies")
    layer_decay: Annotated[float, Field(gt=0, le=1)] = Field(
        description="layer-wise decay factor of backbone_lr, from the last layer to the first; 1 disables it"
    )
    rates: dict[str, Annotated[float, Field(ge=0)]] = Field(
        description="learning rates by parameter name pattern, such as {backbone.net.blocks.6: 0.001}"
    )
    chunk: int | None = Field(
        ge=1,
        description="process the batch in chunks of this many images to save memory, with the same "
        "gradient; null processes it whole",
    )
    accumulate: Annotated[int, Field(ge=1)] = Field(
        description="number of batches whose gradients are averaged per optimizer step; the loss is "
        "computed per batch"
    )
    clip: float | None = Field(
        gt=0, description="maximum gradient norm; larger gradients are scaled down; null disables clipping"
    )
    keep_statistics: bool | None = Field(
        description="freeze the batch-norm statistics of the backbone; null freezes those of a pretrained"
        " backbone"
    )
    small_size: int = Field(
        ge=0, description="image size for the first epochs (progressive resizing); 0 disables it"
    )
    small_share: Annotated[float, Field(ge=0, le=1)] = Field(
        description="fraction of the epochs that use small_size"
    )
    average: Annotated[float, Field(ge=0, lt=1)] = Field(
        description="decay of the exponential moving average of the weights, which is validated and "
        "saved; 0 disables it"
    )
    class_sample: Annotated[float, Field(gt=0, le=1)] = Field(
        description="fraction of the classes that a margin-head loss samples per step (Partial FC); 1 "
        "uses all"
    )
    shard_classes: bool = Field(
        description="distribute the class weights of margin heads over the processes, if they do not fit "
        "on one device"
    )
    memory: int = Field(ge=0, description="number of embeddings in the cross-batch memory; 0 disables it")
    memory_warm_up: int = Field(ge=0, description="number of batches before the memory is used")
    matryoshka: list[Annotated[int, Field(ge=2)]] = Field(
        description="embedding lengths for Matryoshka training, such as [32,64,128]; [] disables it"
    )
    mixup: Annotated[float, Field(ge=0, le=1000)] = Field(
        description="mixup alpha, such as 0.2, for proxy losses; 0 disables it"
    )
    cutmix: Annotated[float, Field(ge=0, le=1000)] = Field(
        description="CutMix alpha, such as 1, for proxy losses; 0 disables it"
    )
    mix_share: Annotated[float, Field(ge=0, le=1)] = Field(
        description="fraction of the batches to which mixup and CutMix are applied"
    )
    teacher: Path | None = Field(
        description="model or run folder of the teacher for distillation; null for none"
    )
    distill: Literal["cosine", "l1", "l2", "relational", "similarity"] = Field(
        description="distillation loss on the teacher's vectors (cosine, l1, l2) or on similarities "
        "between images"
    )
    distill_weight: Annotated[float, Field(ge=0)] = Field(
        description="weight of the distillation loss; 0 disables it"
    )
    distill_only: bool = Field(description="train with the distillation loss only, without labels")
    freeze: list[str] = Field(
        description="name patterns of the parameters to freeze: [backbone], ['backbone.net.blocks.[01]']"
    )
    unfreeze: list[str] = Field(description="name patterns of parameters to exclude from freeze")
    compile: bool = Field(
        description="compile the model with torch.compile; the first steps are slow, later ones faster"
    )
    amp: Literal["no", "bf16", "fp16"] = Field(description="mixed precision: less memory, faster on GPUs")
    best_metric: str = Field(
        description="validation metric that selects the best epoch, such as map@r, recall@1 or loss"
    )
    far: Annotated[float, Field(gt=0, lt=1)] = Field(
        description="false accept rate of the model's threshold, which is set on the validation "
        "identities at the end of training"
    )
    keep_epochs: Literal["best", "all"] = Field(
        description="best keeps the model of the best epoch; all also keeps each epoch's, in OUT/epochs/"
    )
    patience: int | None = Field(
        ge=1,
        description="stop training, or the stage, after this many epochs without improvement; null never "
        "stops early",
    )
    val_share: Annotated[float, Field(ge=0, lt=1)] = Field(
        description="fraction of the classes held out for validation if the dataset has no val split"
    )
    seed: int = Field(ge=0, lt=2**32, description="random seed; the same seed reproduces the run")
    workers: int | None = Field(
        ge=0, le=1024, description="number of data-loading processes; null chooses by device and cores"
    )
    cache: Path | None = Field(
        description="folder to cache resized, decoded training images in; speeds up all epochs after the "
        "first; null for none"
    )
    cache_side: int | None = Field(
        ge=8, description="shorter side of cached images in pixels; null uses 8/7 of image_size"
    )
    cache_gb: float = Field(
        gt=0, description="maximum cache size in gigabytes; images beyond it are decoded every epoch"
    )
    threads: int | None = Field(
        ge=1, description="number of CPU threads for the model; null keeps the default of PyTorch"
    )
    processes: int | None = Field(
        ge=1,
        le=1024,
        description="number of training processes on this machine; null uses one, or those started by "
        "torchrun",
    )
    device: str | None = Field(description="device: cpu, cuda, cuda:1 or mps; null selects the best")
    progress: bool = Field(description="show progress bars")
    data_dir: Path = Field(description="folder in which datasets are looked up by name")
    save_minutes: float = Field(
        gt=0, description="minutes between checkpoints within an epoch; the end of an epoch is always saved"
    )
    resume: Resume = Field(description="rules for resuming an interrupted run")
    stages: list[dict[str, Any]] = Field(
        description="keys that change in each successive training stage: [{epochs: 4, freeze: "
        "[backbone]}, {epochs: 8, loss.triplet.margin: 0.1}]; [] trains in one stage"
    )
    backbone: Node = Field(description="network that extracts features from an image")
    pooling: Node = Field(description="pooling of the feature map into one vector")
    head: Node = Field(description="layers that map the pooled vector to the embedding")
    loss: dict[str, Node] = Field(
        min_length=1, description="training loss, or a weighted sum of several: loss=[arcface,gor]"
    )
    sampler: Node = Field(description="sampler that composes the batches")
    augment: Node = Field(description="augmentation of the training images")
    optimizer: Node = Field(description="optimizer")
    scheduler: Node = Field(description="learning rate schedule over the run, or over each stage")
    tracker: dict[str, Node] = Field(
        description="experiment trackers: tracker=[tensorboard], tracker=[mlflow,wandb]; [] for none"
    )

    @classmethod
    def stage_keys(cls) -> list[str]:
        """The keys that may change from stage to stage."""
        return [key for key in cls.model_fields if key not in FIXED]
