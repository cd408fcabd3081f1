"""Names of other tools and the corresponding names here, for hints in error messages."""

from collections.abc import Iterable
from typing import Any

from lookalike.config.wording import format_value

BATCHES = (
    "sampler.classes_per_batch and sampler.samples_per_class, whose product is the batch size: "
    "sampler.classes_per_batch=4 sampler.samples_per_class=4 for 16. Losses with learned class vectors "
    "also allow random batches: sampler=shuffle sampler.batch_size={value}"
)
MINING = (
    "loss=triplet loss.triplet.mining={value}; the modes are batch_all, batch_hard (the hardest), semi_hard, "
    "semi_hard_window and hard_negative. Other losses take a miner"
)
GPUS = "device=cuda for one GPU, device=cpu for none; processes=4 trains on four GPUs"
NETWORK = "backbone=timm backbone.name={value} for any network of timm"
TRAIN = {
    ("batch_size", "batchsize", "batch", "bs", "train_batch_size"): BATCHES,
    ("classes_per_batch", "p"): "sampler.classes_per_batch={value}",
    ("samples_per_class", "k", "m_per_class", "images_per_class"): "sampler.samples_per_class={value}",
    ("learning_rate", "base_lr", "lr0"): "lr={value} (head), backbone_lr= (backbone), loss_lr= (proxies)",
    ("model", "arch", "architecture", "network", "net", "encoder", "model_name"): NETWORK,
    ("pretrained", "weights"): "backbone.pretrained=true or false; backbone=timm backbone.weights=FILE",
    ("num_epochs", "n_epochs", "max_epochs", "nepochs"): "epochs={value}",
    ("embedding_dim", "embedding_size", "emb_dim", "embed_dim", "feature_dim", "dims"): "dim={value}",
    ("img_size", "imgsz", "input_size", "size", "resolution", "crop_size"): "image_size={value}",
    ("mining", "miner", "sampling_type"): MINING,
    ("margin",): "loss.LOSS.margin={value}, such as loss=triplet loss.triplet.margin={value}",
    ("temperature", "scale"): "loss.LOSS.temperature or loss.LOSS.scale; `lookalike train loss=LOSS --help`",
    ("weight_decay", "wd"): "optimizer.weight_decay={value}",
    ("momentum",): "optimizer=sgd optimizer.momentum={value}",
    ("warmup", "warmup_epochs"): "scheduler.warmup=0.1 (a share of training), or scheduler.unit=epochs too",
    ("lr_scheduler", "schedule", "sched"): "scheduler={value}",
    ("optim", "opt"): "optimizer={value}",
    ("criterion", "loss_fn", "loss_type", "losses"): "loss={value}",
    ("augmentation", "augmentations", "transform", "transforms", "aug"): "augment={value}",
    ("mixed_precision", "fp16", "bf16", "half", "precision"): "amp=bf16 or amp=fp16",
    ("metric", "monitor", "metrics"): "best_metric={value}",
    ("early_stopping", "early_stop"): "patience={value}, in epochs",
    ("grad_clip", "clip_grad", "gradient_clip", "max_grad_norm"): "clip={value}",
    ("gradient_accumulation", "grad_accum", "accumulate_grad_batches"): "accumulate={value}",
    (
        "config",
        "cfg",
        "c",
        "config_file",
    ): "experiment=NAME for a recipe, conf_dir=FOLDER for your own files",
    ("recipe", "preset"): "experiment={value}; `lookalike recipes` lists them",
    ("val_split", "validation_split", "val_ratio"): "val_share={value}, or a dataset that has a val split",
    (
        "wandb",
        "tensorboard",
        "mlflow",
        "logger",
    ): "tracker=[tensorboard], [wandb] or [mlflow]",
    ("frozen", "freeze_backbone"): "freeze=[backbone]",
    ("ema", "ema_decay"): "average={value}",
    ("split",): "`lookalike prepare split` to change the split; training uses the split train",
}
ANY = {
    ("num_workers", "n_workers", "nworkers", "jobs", "j"): "workers={value}",
    ("gpus", "gpu", "cuda", "use_gpu", "ngpus", "n_gpus", "gpu_ids"): GPUS,
    ("random_seed", "rng", "random_state", "manual_seed"): "seed={value}",
    ("output", "out_dir", "output_dir", "save_dir", "outdir", "o", "save", "dest", "log_dir"): "out={value}",
    ("data", "data_path", "train_data", "train_dir", "data_root", "d"): "dataset={value}",
    ("root", "folder", "photos", "image_dir"): "source.root={value}",
    ("checkpoint", "ckpt", "weights", "model_path", "model_dir"): "model={value}",
    ("top_k", "topk", "n", "num_results", "limit", "neighbours", "neighbors"): "k={value}",
    ("query", "photo", "img", "file", "input", "picture", "images", "path"): "image={value}",
    ("metrics", "ks"): "metric={value}",
    ("batch", "bs"): "batch_size={value}",
    ("type", "style", "kind"): "plot={value}",
    ("output_format", "fmt"): "format={value}",
    ("train_size", "test_size", "val_size"): "test=0.2 and val=0.1 are shares",
}
VALUES = {
    "hardest": ["batch_hard"],
    "hard": ["batch_hard", "batch_all"],
    "all": ["batch_all", "all"],
    "easy": ["batch_all"],
    "l2": ["euclidean"],
    "cos": ["cosine"],
    "none": ["no", "off"],
    "half": ["bf16", "fp16"],
    "float16": ["fp16"],
    "bfloat16": ["bf16"],
    "pad": ["letterbox"],
    "stretch": ["squash"],
}
MEANT = {"hardest": "batch_hard", "hard": "batch_hard", "semihard": "semi_hard", "all": "batch_all"}
CHOICES = {
    "backbone": "Any network of timm: backbone=timm backbone.name={value}; also torchvision and openclip",
    "scheduler": "For constant rates: scheduler=constant",
    "experiment": "`lookalike recipes` describes each",
    "source": "Class folders: source=folder source.root=FOLDER; a table: source=table source.file=FILE",
}
SWITCHES = {
    "freeze": ("freeze=[backbone] to train the head only", "freeze=[]"),
    "unfreeze": ("unfreeze=[NAME], patterns of weights to train all the same", "unfreeze=[]"),
    "patience": ("patience=5, a number of epochs", "patience=null"),
    "clip": ("clip=10, the maximum gradient norm", "clip=null"),
    "average": ("average=0.99, the decay", "average=0"),
    "mixup": ("mixup=0.2, the alpha", "mixup=0"),
    "cutmix": ("cutmix=1, the alpha", "cutmix=0"),
    "memory": ("memory=1024, a number of embeddings", "memory=0"),
    "matryoshka": ("matryoshka=[64,128], the dimensions to cut to", "matryoshka=[]"),
    "layer_decay": ("layer_decay=0.75, the factor from layer to layer", "layer_decay=1"),
    "accumulate": ("accumulate=4, a number of batches", "accumulate=1"),
    "chunk": ("chunk=16, a number of images", "chunk=null"),
    "amp": ("amp=bf16 or amp=fp16", "amp=no"),
    "rates": ("rates={PATTERN: 0.0001}", "rates={}"),
    "stages": ("stages=[{epochs: 4, freeze: [backbone]},{epochs: 8}]", "stages=[]"),
    "tracker": ("tracker=[tensorboard] (or wandb, mlflow, trackio)", "tracker=[]"),
    "augment": ("augment=standard or augment=strong", "augment=none"),
    "scheduler": ("scheduler=cosine", "scheduler=constant"),
    "head": ("head=linear", "head=none"),
    "backbone": ("backbone.pretrained=true", "backbone.pretrained=false"),
    "cache": ("cache=FOLDER", "cache=null"),
    "teacher": ("teacher=FOLDER, a model", "teacher=null"),
    "resume": ("resume.allow=[KEY]; the same command resumes a stopped run by itself", "another out="),
    "val_share": ("val_share=0.1", "val_share=0"),
    "keep_epochs": ("keep_epochs=all", "keep_epochs=best"),
    "pca": ("pca.dim=128 or pca.whiten=1", "pca.whiten=0 and pca.dim=null"),
    "rerank": ("rerank.k1=20", "rerank.k1=0"),
    "expand": ("expand.queries=5", "expand.queries=0"),
    "detect": ("detect=face, detect=cat or detect=dog", "detect=none"),
    "picture": ("picture=hits.png", "picture=null"),
}
"""Of keys that are no switches: what true stands for, and false."""


def switch_advice(key: str, value: Any) -> str:
    """What to write for `key=true` and `key=false` where the key is not a switch; empty if not known."""
    if not isinstance(value, bool) or key not in SWITCHES:
        return ""
    return f"Use {SWITCHES[key][not value]}"


def advice(job: str, key: str, value: Any, known: Iterable[str]) -> str:
    """What a key of another tool is called in this job, or nothing where there is no such thing.

    Args:
        job: the job.
        key: as typed.
        value: its value, which the advice repeats.
        known: the job's own keys and groups; advice for keys that it does not have is left out.
    """
    name, own_keys = key.lower().replace("-", "_"), set(known)
    for table in [TRAIN, ANY] if job == "train" else [ANY]:
        for names, text in table.items():
            first_key = text.partition("=")[0].partition(".")[0]
            if name in names and (table is TRAIN or first_key in own_keys):
                return f" Use {_fill_value(text, MEANT.get(str(value).lower(), value))}"
    return ""


def value_meant(value: Any, allowed: Iterable[str]) -> list[str]:
    """The allowed values that another tool's name for one stands for."""
    meant, known = VALUES.get(str(value).lower(), []), set(allowed)
    return [word for word in meant if word in known]


def choice_advice(group: str, value: Any) -> str:
    """A hint for a choice that a group does not have."""
    text = CHOICES.get(group, "")
    return f". {_fill_value(text, value)}" if text else ""


def _fill_value(text: str, value: Any) -> str:
    return text.replace("{value}", format_value(value) if value is not None else "…")
