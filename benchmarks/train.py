"""What the training loop costs beside the bare work of the model, and what several processes gain.

LOOKALIKE_DATA=… python benchmarks/train.py [loop] [processes] [gpu] [repeats=3] [images=3840] [workers=…]

loop: images a second of the whole loop (reading, augmenting, loss, clipping, moving average, progress bar,
  history, checkpoint every epoch), over those of bare forward, loss, backward and step on ready tensors, in
  the same process with the same threads; and what the checkpoint of an epoch costs.
processes: two processes on two cores over one process on one core.
gpu: ResNet-50 at 224 px, bf16, 256 images: a step of the loop over a bare one; the share of loss and mining.

Runs of both sides alternate. An epoch has `images` images; the first of each run is left out. `workers` and
`threads` (threads=…) are those of the whole loop; bare steps have all threads.
"""

import copy
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import torch
from torch import nn

from _common import data, show
from lookalike.cli import _train_settings as unpack
from lookalike.cli.train import Config, stage_configs
from lookalike.config import load
from lookalike.data.images import Batch, collate
from lookalike.data.table import read_table
from lookalike.machine import choose_device
from lookalike.training.assemble import make_components
from lookalike.training.components import RunComponents
from lookalike.training.history import Result
from lookalike.training.processes import make_accelerator
from lookalike.training.run import run
from lookalike.training.stage import Stage, TrainingProgress
from lookalike.training.state import Training
from mnist import write_dataset

LITE0 = {"backbone": "efficientnet_lite0", "image_size": 96}
DIGITS = {"+experiment": "mnist_facenet"}
ALWAYS = {"val_share": 0, "seed": 0, "save_minutes": 1000}
EPOCHS, STEPS = 3, 10


def cut(table: Path, folder: Path, images: int) -> Path:
    """A dataset of about so many training images: of all classes if they are few, else of the first."""
    train = read_table(table).split("train")
    paths = [str(train.file(row).absolute()) for row in range(len(train))]
    frame = train.frame.with_columns(path=pl.Series(paths))
    frame = frame.group_by("label", maintain_order=True).head(max(8, images // frame["label"].n_unique()))
    folder.mkdir()
    frame.head(images).write_parquet(folder / "table.parquet")
    return folder


def make(dataset: Path, out: Path, keys: dict[str, Any]) -> tuple[Config, RunComponents]:
    config = load("train", Config, dataset=str(dataset), out=str(out), epochs=EPOCHS, **ALWAYS, **keys)
    accelerator = make_accelerator(config.amp, choose_device(config.device))
    return config, make_components(
        lambda: {"dataset": read_table(dataset)},
        lambda: unpack.make_model(config),
        unpack.train_settings(config),
        [unpack.stage_settings(stage) for stage in stage_configs(config)],
        *(unpack.make_trackers(config), accelerator, out),
    )


def epoch_rate(history: Path, images: int) -> float:
    """Images a second from the end of the first epoch to that of the last, checkpoints included."""
    minutes = pl.read_csv(history)["minutes"].to_list()
    return images * (len(minutes) - 1) / (60 * (minutes[-1] - minutes[0]))


def first_batch(stage: Stage) -> Batch:
    stage.batches.set_epoch(1)
    return collate(stage.images[row] for row in next(iter(stage.batches)))


def seconds_per_step(step: Callable[[], object], device: torch.device, steps: int) -> float:
    """Seconds a step, after two that are not counted."""
    for _ in range(2):
        step()
    _wait(device)
    started = time.perf_counter()
    for _ in range(steps):
        step()
    _wait(device)
    return (time.perf_counter() - started) / steps


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def bare(model: nn.Module, loss: nn.Module, batch: Batch) -> Callable[[], None]:
    """One step of the model and nothing else."""
    parameters = [p for p in (*model.parameters(), *loss.parameters()) if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-5)

    def step() -> None:
        loss(model.features(batch.images), batch.class_ids).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def loop(repeats: int, images: int, **given: int) -> None:
    """The whole loop against bare steps, and the checkpoints within it."""
    rows, saves = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sets = [
            ("efficientnet_lite0, 96 px, emoji", data("emoji"), LITE0, "≥ 0.9"),
            ("small_cnn, 28 px, digits", write_dataset(data("mnist10k"), folder / "digits"), DIGITS, "≥ 0.7"),
        ]
        for number, (title, source, keys, goal) in enumerate(sets):
            dataset = cut(source, folder / f"set{number}", images)
            outs = [folder / f"run{number}_{repeat}" for repeat in range(repeats)]
            found = [_both(dataset, out, {**keys, **given}) for out in outs]
            whole, alone, seconds, count = zip(*found, strict=True)
            ratios = [a / b for a, b in zip(whole, alone, strict=True)]
            rows.append(
                [
                    title,
                    f"{statistics.median(whole):.0f}",
                    f"{statistics.median(alone):.0f}",
                    f"{statistics.median(ratios):.3f}",
                    f"{min(ratios):.3f} to {max(ratios):.3f}",
                    goal,
                ]
            )
            saving, everything = statistics.median(seconds), len(read_table(source).split("train"))
            shares = [f"{100 * saving * statistics.median(whole) / n:.2f} %" for n in (count[0], everything)]
            saves.append([title, f"{saving:.3f}", count[0], shares[0], everything, shares[1]])
    columns = ["what", "loop, images/s", "bare, images/s", "loop / bare", f"of {repeats} repeats", "goal"]
    show("The whole loop beside bare steps (seed 0)", columns, rows)
    columns = ["what", "seconds", "images an epoch", "share", "images of the whole set", "share (goal ≤ 2 %)"]
    show("A checkpoint after each epoch", columns, saves)


def _both(dataset: Path, out: Path, keys: dict[str, Any]) -> tuple[float, float, float, int]:
    """Images a second of loop and bare steps, seconds of a checkpoint, images of an epoch."""
    threads = torch.get_num_threads()
    config, parts = make(dataset, out, keys)
    chosen = torch.get_num_threads()
    torch.set_num_threads(threads)
    stage = Stage(parts, 0, None, fresh=False)
    batch = first_batch(stage)
    count = sum(len(rows) for rows in stage.batches)
    step = bare(copy.deepcopy(parts.model).train(), copy.deepcopy(stage.loss), batch)
    alone = len(batch.rows) / seconds_per_step(step, torch.device("cpu"), STEPS)
    spent: list[float] = []
    save = Training.save

    def save_timed(*given: Any) -> None:
        started = time.perf_counter()
        save(*given)
        spent.append(time.perf_counter() - started)

    Training.save = save_timed
    torch.set_num_threads(chosen)
    try:
        run(parts, out, config.model_dump(mode="json"))
    finally:
        Training.save = save
        torch.set_num_threads(threads)
    again = len(batch.rows) / seconds_per_step(step, torch.device("cpu"), STEPS)
    return epoch_rate(out / "history.csv", count), (alone + again) / 2, statistics.median(spent), count


def processes(repeats: int, images: int) -> None:
    """Two processes on two cores against one on one."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise SystemExit("processes: this machine has one core")
    rates: dict[int, list[float]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as name:
        dataset = cut(data("emoji"), Path(name) / "set", images)
        count = 0
        for repeat in range(repeats):
            for number in (1, 2):
                out = Path(name) / f"run{repeat}_{number}"
                _, parts = make(dataset, out, LITE0)
                count = count or sum(len(rows) for rows in Stage(parts, 0, None, fresh=False).batches)
                _train(dataset, out, number, cores[:number])
                rates[number].append(epoch_rate(out / "history.csv", count))
    ratios = [two / one for one, two in zip(rates[1], rates[2], strict=True)]
    show(
        "Two processes on two cores beside one on one core: efficientnet_lite0, 96 px, emoji (seed 0)",
        ["one, images/s", "two, images/s", "two / one", f"of {repeats} repeats", "goal"],
        [
            [
                f"{statistics.median(rates[1]):.0f}",
                f"{statistics.median(rates[2]):.0f}",
                f"{statistics.median(ratios):.2f}",
                f"{min(ratios):.2f} to {max(ratios):.2f}",
                "≥ 1.6",
            ]
        ],
    )


def _train(dataset: Path, out: Path, number: int, cores: list[int]) -> None:
    """The command line in a process that may use these cores only, one thread each."""
    keys = {
        "dataset": dataset,
        "out": out,
        "epochs": EPOCHS,
        "processes": number,
        "threads": 1,
        "progress": False,
    }
    words = [f"{key}={value}" for key, value in {**keys, **ALWAYS, **LITE0}.items()]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        subprocess.run([sys.executable, "-m", "lookalike", "train", *words], check=True, env=environment)
    finally:
        os.sched_setaffinity(0, before)


def gpu(
    repeats: int, classes: int = 64, size: int = 224, device: str = "cuda", name: str = "resnet50"
) -> None:
    """A step of the loop on images that are there already, against the bare model."""
    if device == "cuda" and not torch.cuda.is_available():
        print("\ngpu: there is none here")
        return
    backbone = {"backbone": "timm", "backbone.name": name, "backbone.pretrained": False}
    keys = {"device": device, "amp": "bf16", "image_size": size, "sampler.classes_per_batch": classes}
    with tempfile.TemporaryDirectory() as folder:
        dataset = cut(data("emoji"), Path(folder) / "set", 20 * classes)
        _, parts = make(dataset, Path(folder) / "run", {**backbone, **keys})
        training = Training(parts, Path(folder), Result(), TrainingProgress(), fresh=False)
        stage, progress = training.stage, training.progress
        place, labels = parts.accelerator.device, torch.arange(4 * classes) // 4
        images = torch.randint(256, (len(labels), 3, size, size), dtype=torch.uint8)
        batch = Batch(images.to(place), labels.to(place), torch.arange(len(labels)), [])
        embeddings = torch.randn(len(labels), parts.model.dim, device=place, requires_grad=True)
        plain = copy.deepcopy(parts.model).train()
        optimizer = torch.optim.AdamW(plain.parameters(), lr=1e-5)

        def step() -> None:
            progress.step = progress.batch = 1
            stage.set_progress(progress)
            pixels, targets = stage.prepare_batch(batch, 1, 1)
            with stage.gradient_sync(progress):
                value = stage.criterion(stage.forward(pixels), *targets)
                stage.backward(value)
            training.record_batch(value.detach(), batch, len(labels))
            norm = stage.clip_gradients()
            if training.nonfinite.step_is_finite(norm, **stage.describe_step(progress)):
                stage.optimizer.step()
            stage.optimizer.zero_grad()

        def without() -> None:
            with torch.autocast(place.type, torch.bfloat16):
                value = plain.features(batch.images).float().square().mean()
            value.backward()
            optimizer.step()
            optimizer.zero_grad()

        def loss() -> None:
            stage.loss(embeddings, batch.class_ids).backward()

        parts.model.train()
        found = [
            [seconds_per_step(each, place, 20) for each in (step, without, loss)] for _ in range(repeats)
        ]
    ratios = [plainly / whole for whole, plainly, _ in found]
    shares = [100 * only / whole for whole, _, only in found]
    show(
        f"{name}, {size} px, bf16, {len(labels)} images (seed 0) on "
        + (torch.cuda.get_device_name() if device == "cuda" else device),
        ["loop, images/s", "bare, images/s", "loop / bare", "goal", "loss and mining", "goal"],
        [
            [
                f"{len(labels) / statistics.median(each[0] for each in found):.0f}",
                f"{len(labels) / statistics.median(each[1] for each in found):.0f}",
                f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})",
                "≥ 0.95",
                f"{statistics.median(shares):.2f} % ({min(shares):.2f} to {max(shares):.2f})",
                "≤ 3 %",
            ]
        ],
    )


if __name__ == "__main__":
    numbers = {key: int(value) for key, value in (word.split("=") for word in sys.argv[1:] if "=" in word)}
    repeats, images = numbers.get("repeats", 3), numbers.get("images", 3840)
    chosen = [word for word in sys.argv[1:] if "=" not in word] or ["loop", "processes", "gpu"]
    if "loop" in chosen:
        loop(repeats, images, **{key: numbers[key] for key in ("workers", "threads") if key in numbers})
    if "processes" in chosen:
        processes(repeats, images)
    if "gpu" in chosen:
        gpu(repeats)
