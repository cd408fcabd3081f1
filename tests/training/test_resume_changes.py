"""Going on with other values: what is allowed takes effect, what cannot be changes nothing in the folder."""

import json
import shutil
from pathlib import Path

import polars as pl
import pytest
from PIL import Image

import lookalike
from lookalike.errors import ConfigError
from lookalike.training.checkpoint import Checkpoints, read_state, write_state

KEYS = {
    "backbone": "small_cnn",
    "backbone.channels": [4, 8],
    "image_size": 16,
    "dim": 8,
    "epochs": 2,
    "loss": "contrastive",
    "sampler.classes_per_batch": 3,
    "sampler.samples_per_class": 3,
    "augment": "none",
    "average": 0,
    "progress": False,
    "workers": 0,
    "device": "cpu",
}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def state(run: Path) -> dict:
    return read_state(Checkpoints(run / "state").all()[-1])


@pytest.fixture(scope="module")
def dataset(shapes_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "shapes"
    shutil.copytree(shapes_folder, folder)
    rows = []
    for number, place in enumerate(sorted(folder.iterdir())):
        split = "val" if number > 6 else "train"
        rows += [(str(file.relative_to(folder)), place.name, split) for file in sorted(place.glob("*.png"))]
    pl.DataFrame(rows, schema=["path", "label", "split"], orient="row").write_csv(folder / "table.csv")
    return folder


@pytest.fixture(scope="module")
def run(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lookalike.train(dataset, tmp_path_factory.mktemp("runs") / "run", **KEYS).folder


@pytest.fixture
def copy_run(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "run"))


def go_on(dataset: Path, out: Path, **changes: object) -> None:
    allowed = sorted({key.split(".")[0].lstrip("+") for key in changes} | {"epochs", "dataset"})
    lookalike.train(dataset, out, **{**KEYS, "epochs": 3, **changes, "resume.allow": allowed})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"optimizer": "sgd"}, "optimizer: is torch.optim.sgd.SGD, was"),
        ({"+optimizer.amsgrad": True}, "max_exp_avg_sq has no state yet"),
        ({"dim": 12}, r"model: head.layer.weight is \[12, 392\], was \[8, 392\]"),
        ({"backbone.channels": [4, 6]}, "model: backbone"),
        ({"head": "batch_norm"}, "model: head"),
        ({"loss": "arcface"}, "loss: losses.arcface.proxies is new"),
        ({"memory": 16}, "loss: .*is new"),
        ({"freeze": ["backbone"]}, "optimizer: 2 trained tensors"),
        ({"best_metric": "nothing"}, "best_metric=nothing"),
        ({"epochs": 2, "lr": 0.5}, "all of its 2 epochs are done, .*other values of lr"),
        ({"epochs": 1}, "all of its 2 epochs are done, .*other values of epochs"),
        ({"min_per_class": 100}, "."),
    ],
)
def test_what_does_not_fit_is_refused_and_the_folder_stays_as_it_was(changes, said, dataset, copy_run):
    before = contents(copy_run)
    with pytest.raises(lookalike.errors.LookalikeError, match=said):
        go_on(dataset, copy_run, **changes)
    assert contents(copy_run) == before
    lookalike.train(dataset, copy_run, **KEYS)  # the original command still finds its finished run


def changed_table(dataset: Path, folder: Path, change) -> Path:
    shutil.copytree(dataset, folder)
    frame = change(pl.read_csv(folder / "table.csv").with_row_index("row"))
    frame.drop("row").write_csv(folder / "table.csv")
    return folder


CHANGES = {
    "fewer training rows": (
        lambda f: f.filter((pl.col("split") == "val") | (pl.col("row") % 2 == 0)),
        "training",
    ),
    "fewer validation rows": (
        lambda f: f.filter((pl.col("split") == "train") | (pl.col("row") % 2 == 0)),
        "validation",
    ),
    "no validation rows": (lambda f: f.filter(pl.col("split") == "train"), "validation"),
    "other labels": (lambda f: f.with_columns(label=pl.col("label").str.replace("blue", "red")), "training"),
    "boxes": (lambda f: f.with_columns(x1=1, y1=1, x2=9, y2=9), "training"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_other_rows_labels_or_boxes_are_refused(name, dataset, copy_run, tmp_path):
    change, split = CHANGES[name]
    other, before = changed_table(dataset, tmp_path / "other", change), contents(copy_run)
    with pytest.raises(ConfigError, match=f"was started with other {split} images"):
        go_on(other, copy_run, val_share=0)
    assert contents(copy_run) == before


@pytest.mark.parametrize("split", ["train", "val"])
def test_other_pixels_are_refused(split, dataset, copy_run, tmp_path):
    other, before = changed_table(dataset, tmp_path / "other", lambda frame: frame), contents(copy_run)
    file = other / pl.read_csv(other / "table.csv").filter(split=split)["path"][3]
    with Image.open(file) as image:
        image.point(lambda value: 255 - value).save(file)
    with pytest.raises(ConfigError, match=r"files of (training|validation) images were changed"):
        go_on(other, copy_run)
    assert contents(copy_run) == before


def test_a_copy_of_the_dataset_is_the_same(dataset, copy_run, tmp_path):
    go_on(changed_table(dataset, tmp_path / "other", lambda frame: frame), copy_run)
    assert pl.read_csv(copy_run / "history.csv")["epoch"].to_list() == [1, 2, 3]


@pytest.mark.parametrize(
    ("changes", "name", "value"),
    [
        ({"optimizer.weight_decay": 0.7}, "weight_decay", 0.7),
        ({"optimizer.betas": [0.5, 0.6]}, "betas", (0.5, 0.6)),
        ({"lr": 0.5, "scheduler": "constant"}, "lr", 0.5),
    ],
)
def test_allowed_values_of_the_optimizer_take_effect(changes, name, value, dataset, copy_run):
    go_on(dataset, copy_run, **changes)
    groups = state(copy_run)["optimizer"]["param_groups"]
    assert pytest.approx(value) in [group[name] for group in groups if group["name"] == "head"]


def test_the_average_may_begin_later(dataset, copy_run, caplog):
    go_on(dataset, copy_run, average=0.9)
    assert "average=0.9: averaging starts from the current weights" in caplog.text
    assert state(copy_run)["averaged"] is not None


def test_a_plateau_may_take_over(dataset, copy_run):
    go_on(dataset, copy_run, scheduler="plateau")
    assert state(copy_run)["schedule"]["best"] is not None


def test_another_metric_does_not_inherit_the_best_score(dataset, copy_run, caplog):
    go_on(dataset, copy_run, best_metric="recall@1")
    history = pl.read_csv(copy_run / "history.csv")
    summary = json.loads((copy_run / "summary.json").read_text())
    assert "From here on recall@1 chooses: it starts as the best so far" in caplog.text
    row = history.filter(epoch=summary["best_epoch"])
    assert summary["best_score"] == pytest.approx(row["val_recall@1"][0], abs=1e-5)
    assert summary["best_metric"] == "recall@1"


def test_fewer_stages_are_refused(dataset, tmp_path):
    out = tmp_path / "run"
    stages = [{"epochs": 1}, {"epochs": 1, "lr": 0.01}]
    lookalike.train(dataset, out, **{**KEYS, "stages": stages})
    before = contents(out)
    with pytest.raises(ConfigError, match="stopped in stage 2, and there are 1 now"):
        go_on(dataset, out, stages=[{"epochs": 3}])
    assert contents(out) == before


def test_a_checkpoint_of_another_version_is_refused(dataset, copy_run):
    newest = Checkpoints(copy_run / "state").all()[-1]
    older = {key: value for key, value in read_state(newest).items() if key not in ("format", "tables")}
    write_state(newest, older)
    before = contents(copy_run)
    with pytest.raises(ConfigError, match=r"written by another version of Lookalike.*take another out="):
        go_on(dataset, copy_run)
    assert contents(copy_run) == before
