"""Training from Python with objects where the command line has names."""

import inspect
import json
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import BatchSampler, Dataset, RandomSampler

import lookalike
from lookalike.cli.train import Config
from lookalike.cli.train_api import ALIASES, train
from lookalike.errors import ConfigError, DataError, LookalikeError
from lookalike.losses import ArcFace, Contrastive, Triplet
from lookalike.samplers import PerClass, Shuffle

QUICK = {"image_size": 16, "epochs": 1, "progress": False, "workers": 0, "device": "cpu", "val_share": 0.3}
NAMED = {"backbone": "small_cnn", "backbone.channels": [4, 8], "dim": 8}


class Photos(Dataset):
    """PIL images of drawn shapes."""

    def __init__(self, folder: Path):
        self.files = sorted(folder.glob("*/*.png"))

    def __len__(self):
        return len(self.files)

    def __getitem__(self, index):
        return Image.open(self.files[index]), self.files[index].parent.name


class Tensors(Photos):
    """The same as float tensors, with labels that are numbers."""

    def __init__(self, folder: Path):
        super().__init__(folder)
        names = sorted({file.parent.name for file in self.files})
        self.targets = torch.tensor([names.index(file.parent.name) for file in self.files])

    def __getitem__(self, index):
        image = Image.open(self.files[index]).convert("RGB").resize((16, 16))
        return torch.from_numpy(np.array(image)).permute(2, 0, 1) / 127.5 - 1, self.targets[index]


class Net(nn.Module):
    def __init__(self, channels=4, maps=False):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, channels, 3, stride=2), nn.BatchNorm2d(channels), nn.ReLU())
        self.end = nn.Identity() if maps else nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten())

    def forward(self, images):
        return self.end(self.body(images))


class Pull(nn.Module):
    """A loss of one's own."""

    def forward(self, embeddings, labels):
        unit = nn.functional.normalize(embeddings)
        return ((unit @ unit.T - (labels[:, None] == labels).float()) ** 2).mean()


def pull(embeddings, labels):
    return Pull()(embeddings, labels)


@pytest.fixture
def table(shapes_folder, tmp_path):
    files = sorted(shapes_folder.glob("*/*.png"))
    labels = [file.parent.name for file in files]
    frame = pl.DataFrame({"path": [str(file) for file in files], "label": labels, "split": "train"})
    frame.write_csv(tmp_path / "table.csv")
    return lookalike.read_table(tmp_path / "table.csv")


def test_ten_lines_train_a_module_with_a_loss_on_a_dataset(shapes_folder, tmp_path, capsys):
    photos = Photos(shapes_folder)
    run = lookalike.train(photos, tmp_path / "run", model=Net(), loss=Pull(), **QUICK)
    result = lookalike.evaluate(lookalike.embed(run.model, photos, progress=False))
    score = result.metrics["map@r"]
    print(f"MAP@R {score['value']:.3f} [{score['low']:.3f}, {score['high']:.3f}]")
    assert capsys.readouterr().out.startswith("MAP@R 0.")
    assert run.history["epoch"].to_list() == [1]
    assert run.result["status"] == "finished"
    assert str(run).startswith(f"run {tmp_path / 'run'}")


@pytest.mark.parametrize(
    "changes",
    [
        {"loss": Triplet(margin=0.3)},
        {"loss": ArcFace},
        {"loss": partial(ArcFace, margin=0.2)},
        {"loss": pull},
        {"loss": [Contrastive(), "gor"]},
        {"loss": {"mine": (0.5, Pull()), "arcface": (2.0, "arcface"), "plain": pull}},
        {"sampler": partial(PerClass, classes_per_batch=3, samples_per_class=3)},
        {"sampler": partial(Shuffle, batch_size=8), "undersample": 4},
        {"sampler": [[0, 1, 8, 9], [2, 3, 10, 11]]},
        {"sampler": lambda labels: BatchSampler(RandomSampler(labels), 6, drop_last=True)},
        {"optimizer": torch.optim.SGD},
        {"optimizer": partial(torch.optim.AdamW, lr=0.01)},
        {"schedule": lambda share: 1 - share},
        {"transform": lambda image: torch.zeros(3, 16, 16, dtype=torch.uint8)},
        {"model": Net(), "dim": 6},
        {"model": Net(maps=True), "pooling": "gem"},
    ],
    ids=lambda changes: ",".join(changes),
)
def test_every_argument_takes_objects(changes, table, tmp_path):
    named = {} if "model" in changes else NAMED
    run = lookalike.train(table, tmp_path / "run", **{**QUICK, **named, **changes})
    assert run.result["status"] == "finished"
    assert run.history["loss"].is_finite().all()
    assert run.model.dim == {"dim": 6, "pooling": 4}.get([*changes][-1] if "model" in changes else "", 8)


def test_a_loss_as_an_object_trains_the_model_of_its_name(table, tmp_path):
    for name, loss in (("named", "contrastive"), ("built", Contrastive())):
        lookalike.train(table, tmp_path / name, **QUICK, **NAMED, loss=loss)
    assert lookalike.load(tmp_path / "named").space == lookalike.load(tmp_path / "built").space


def test_tensors_are_used_as_they_are(shapes_folder, tmp_path):
    run = lookalike.train(Tensors(shapes_folder), tmp_path / "run", model=Net(), loss=pull, **QUICK)
    vectors = lookalike.embed(run.model, Tensors(shapes_folder), progress=False).vectors
    images = torch.stack([Tensors(shapes_folder)[row][0] for row in range(80)])
    with torch.inference_mode():
        torch.testing.assert_close(torch.from_numpy(vectors), run.model(images))
    with pytest.raises(ConfigError, match="image_size=20: Tensors gives tensors of 16 × 16"):
        lookalike.train(Tensors(shapes_folder), tmp_path / "b", model=Net(), **{**QUICK, "image_size": 20})
    with pytest.raises(ConfigError, match="augment: Tensors gives tensors"):
        lookalike.train(Tensors(shapes_folder), tmp_path / "b", model=Net(), augment="strong", **QUICK)


def test_datasets_by_split_and_an_embedding_model(shapes_folder, tmp_path):
    first = lookalike.train(Photos(shapes_folder), tmp_path / "first", **QUICK, **NAMED)
    splits = {"train": Photos(shapes_folder), "val": Tensors(shapes_folder)}
    with pytest.raises(DataError, match=r"train gives pictures, val gives tensors \[3, 16, 16\]"):
        lookalike.train(splits, tmp_path / "run", model=first.model, **QUICK)
    splits["val"] = Photos(shapes_folder)
    run = lookalike.train(splits, tmp_path / "run", model=first.model, epochs=1, progress=False, workers=0)
    assert run.result["validation_images"] == 80
    assert lookalike.load(run).dim == 8


def test_a_module_of_ones_own_is_saved_without_code_and_loaded_with_it(table, tmp_path):
    run = lookalike.train(table, tmp_path / "run", model=Net(), loss=pull, **QUICK)
    with pytest.raises(LookalikeError, match=r"holds no code\. Load it in Python: .*model=MODULE"):
        lookalike.load(tmp_path / "run")
    with pytest.raises(LookalikeError, match=r"model\.safetensors"):
        lookalike.load(tmp_path / "run", model=Net(channels=5))
    assert lookalike.load(tmp_path / "run", model=Net()).space == run.model.space
    assert "model=YourModule()" in (run / "model" / "README.md").read_text()


def test_a_run_with_objects_is_finished_refused_or_resumed(table, tmp_path, caplog):
    keys = {**QUICK, "average": 0.0}
    lookalike.train(table, tmp_path / "whole", model=make_net(), loss=Pull(), **{**keys, "epochs": 2})
    lookalike.train(table, tmp_path / "run", model=make_net(), loss=Pull(), **keys)
    with caplog.at_level("INFO", logger="lookalike"):
        run = lookalike.train(table, tmp_path / "run", model=make_net(), loss=Pull(), **keys)
    assert "is finished: nothing to do" in caplog.text
    assert run.model.dim == 16
    with pytest.raises(ConfigError, match=r"(?s)other values.*loss"):
        lookalike.train(table, tmp_path / "run", model=make_net(), loss=Triplet(), **keys)
    more = {**keys, "epochs": 2, "resume.allow": ["epochs"], "scheduler": "cosine"}
    again = lookalike.train(table, tmp_path / "run", model=Net(), loss=Pull(), **more)
    assert again.history["epoch"].to_list() == [1, 2]


def make_net():
    torch.manual_seed(5)
    return Net()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "resnet50"}, "a network is chosen by name with backbone="),
        ({"model": nn.Identity()}, "has no parameters"),
        ({"model": nn.Conv1d(1, 1, 1)}, "fails on float images"),
        ({"model": nn.Sequential(nn.Conv2d(3, 2, 1), nn.Flatten(2))}, r"gives \[2, 2, 256\] for images"),
        ({"model": Net(), "pooling": "gem"}, "gives vectors, so there is no feature map to pool"),
        ({"model": Net(), "backbone": "small_cnn"}, "model= is given, which already has that"),
        ({"loss": ArcFace(num_classes=3, dim=16), "model": Net()}, "has num_classes=3, and training needs"),
        ({"loss": 3}, "loss int: |loss.*must be a name or something that can be called"),
        ({"loss": {"mine": ("a lot", Pull())}}, "is not .weight, loss."),
        ({"loss": {"mine": (-1.0, Pull())}}, "weight must be at least 0"),
        ({"loss": {"other": "triplet"}}, "keeps its own name"),
        ({"sampler": [[0, 99]]}, "gives row 99; rows are those of the"),
        ({"sampler": iter([[0, 1]])}, "needs __iter__|gone through once"),
        ({"optimizer": torch.optim.SGD(Net().parameters(), lr=0.1)}, "is already built"),
        ({"optimizer": partial(torch.optim.SGD, lr=0.1), "lr": 0.2}, "has lr=0.1, and lr is given as well"),
        ({"schedule": torch.optim.lr_scheduler.StepLR}, "schedule=.*StepLR: a schedule is a function"),
        ({"schedule": lambda share: 1.0, "scheduler": "cosine"}, "two names of one key"),
        ({"transform": lambda image: image}, "augment: gives Image"),
        ({"loss": Pull(), "epochs": -1}, "epochs=-1: must be at least 0"),
        ({"loss": Pull(), "lrr": 1}, "lrr: train has no such key"),
        ({"loss": Pull(), "processes": 2}, "start the script with torchrun --nproc-per-node 2"),
    ],
)
def test_what_cannot_work_is_refused_with_one_message(changes, message, table, tmp_path):
    with pytest.raises(ConfigError, match=message):
        lookalike.train(table, tmp_path / "run", **{**QUICK, **changes})
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ([], "is empty"),
        ([3, 4], "not a pair"),
        ([(7, "b")], "returned int"),
        ([(torch.zeros(1, 8, 8), 0)], r"returns a tensor \[1, 8, 8\]"),
        ([(torch.zeros(3, 8, 9), 0)], "must be square"),
        ([(Image.new("RGB", (8, 8)), 1.5)], "labels must be integers or text"),
        ({"trian": [(Image.new("RGB", (8, 8)), 1)]}, "splits are train, val, test"),
    ],
)
def test_datasets_that_cannot_be_used_are_refused(source, message, tmp_path):
    class Source(Dataset):
        def __len__(self):
            return len(source)

        def __getitem__(self, index):
            return source[index]

    with pytest.raises(LookalikeError, match=message):
        lookalike.train(source if isinstance(source, dict) else Source(), tmp_path / "run", **QUICK)


def test_the_signature_names_every_key_and_only_keys():
    parameters = set(inspect.signature(train).parameters) - {"model", "dotted", *ALIASES}
    assert parameters == set(Config.model_fields)


def test_what_ran_is_recorded(table, tmp_path):
    run = lookalike.train(table, tmp_path / "run", model=Net(), loss=partial(ArcFace, margin=0.2), **QUICK)
    text = (run / "config.yaml").read_text()
    assert "ArcFace(margin=0.2)" in text
    assert "Net " in text
    assert json.loads((run / "model" / "config.json").read_text())["backbone"]["kind"] == "module"
