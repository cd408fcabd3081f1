"""Whole runs with mixed images and with a teacher: learn, stop and go on, refuse."""

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from tests.training.training_steps import stop_in_step

import lookalike
from lookalike.errors import ConfigError, LookalikeError
from lookalike.training.checkpoint import Checkpoints, read_state

SMALL = {
    "backbone": "small_cnn",
    "backbone.channels": [8, 16],
    "image_size": 28,
    "dim": 16,
    "epochs": 2,
    "sampler.classes_per_batch": 8,
    "sampler.samples_per_class": 4,
    "val_share": 0,
    "progress": False,
    "workers": 0,
    "device": "cpu",
}
TIMES = ("minutes", "images_per_second", "date")
MIXED = {"loss": ["arcface", "koleo"], "mixup": 0.4, "cutmix": 1.0, "mix_share": 0.8}


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real handwritten digits, 8 x 8 pixels: eight classes to train on, 8 and 9 to test with."""
    folder = tmp_path_factory.mktemp("digits")
    images, labels = load_digits(return_X_y=True)
    rows = [row for digit in range(10) for row in np.flatnonzero(labels == digit)[:24]]
    for row in rows:
        Image.fromarray((images[row].reshape(8, 8) * 15.9).astype(np.uint8)).save(folder / f"{row}.png")
    splits = ["test" if labels[row] >= 8 else "train" for row in rows]
    names = {"path": [f"{row}.png" for row in rows], "label": [str(labels[row]) for row in rows]}
    pl.DataFrame({**names, "split": splits}).write_parquet(folder / "table.parquet")
    return folder


@pytest.fixture(scope="module")
def teacher(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A larger model on larger images."""
    keys = {**SMALL, "backbone.channels": [16, 32], "image_size": 36, "dim": 24, "epochs": 6}
    out = tmp_path_factory.mktemp("teacher") / "run"
    return lookalike.train(
        digits, out, lr=0.003, backbone_lr=0.003, average=0.0, augment="none", **keys
    ).folder


def history(run: Path) -> pl.DataFrame:
    return pl.read_csv(run / "history.csv")


def test_mixed_images_train_and_chunks_change_nothing(digits, tmp_path):
    keys = {**SMALL, **MIXED, "keep_statistics": True, "lr": 0.003, "backbone_lr": 0.003}
    lookalike.train(digits, tmp_path / "whole", **keys)
    lookalike.train(digits, tmp_path / "chunks", chunk=12, **keys)
    lookalike.train(digits, tmp_path / "plain", **{**keys, "mix_share": 0.0})
    whole, chunks, plain = (
        history(tmp_path / name)["loss"].to_list() for name in ("whole", "chunks", "plain")
    )
    assert whole[-1] < whole[0] and whole != plain
    assert chunks == pytest.approx(whole, rel=1e-3)
    assert {"loss_arcface", "loss_koleo"} <= set(history(tmp_path / "whole").columns)


@pytest.mark.parametrize(
    "keys",
    [
        {"loss": ["arcface", "triplet"], "mixup": 0.2},
        {"loss": "arcface", "stages": [{"epochs": 1}, {"epochs": 1, "loss": "triplet", "mixup": 0.2}]},
        {"loss": ["arcface", "triplet"], "cutmix": 1.0, "matryoshka": [8]},
    ],
)
def test_a_loss_that_compares_images_is_refused_before_anything_is_written(keys, digits, tmp_path):
    with pytest.raises(ConfigError, match=r"(mixup=0.2|cutmix=1.0): triplet compares .* such as arcface"):
        lookalike.train(digits, tmp_path / "run", **SMALL, **keys)
    assert not (tmp_path / "run").exists()


def agreement(student: Path, teacher: Path, digits: Path) -> float:
    """Correlation of the cosines of all pairs of unseen digits."""
    table = lookalike.read_table(digits).split("test")
    above = np.triu_indices(len(table), 1)
    cosines = []
    for run in (student, teacher):
        vectors = lookalike.embed(lookalike.load(run), table, progress=False).vectors
        cosines.append((vectors @ vectors.T)[above])
    return float(np.corrcoef(cosines)[0, 1])


TAUGHT = {
    "distill_only": True,
    "epochs": 12,
    "average": 0.0,
    "lr": 0.01,
    "backbone_lr": 0.005,
    "augment": "none",
}


@pytest.mark.parametrize("kind", ["cosine", "relational"])
def test_a_student_learns_how_its_teacher_sees_unseen_images(kind, digits, teacher, tmp_path):
    keys = {**SMALL, **TAUGHT, "teacher": str(teacher), "distill": kind}
    lookalike.train(digits, tmp_path / "student", **keys)
    lookalike.train(digits, tmp_path / "untaught", **{**keys, "epochs": 0})
    losses = history(tmp_path / "student")["loss"]
    assert losses[-1] < 0.3 * losses[0]
    before, after = (agreement(tmp_path / name, teacher, digits) for name in ("untaught", "student"))
    assert after > before + 0.1


def test_a_student_of_the_same_length_enters_the_space_of_its_teacher(digits, teacher, tmp_path):
    keys = {**SMALL, **TAUGHT, "dim": 24, "teacher": str(teacher / "model")}
    lookalike.train(digits, tmp_path / "student", **keys)
    table = lookalike.read_table(digits).split("test")
    student, wanted = (
        lookalike.embed(lookalike.load(run), table, progress=False).vectors
        for run in (tmp_path / "student", teacher)
    )
    assert (student * wanted).sum(axis=1).mean() > 0.9
    state = read_state(Checkpoints(tmp_path / "student" / "state").all()[-1])
    assert not state["loss"] and state["teacher"] == lookalike.load(teacher).space


def test_the_teacher_counts_beside_the_losses_and_its_map_is_not_in_the_model(digits, teacher, tmp_path):
    keys = {**SMALL, **MIXED, "epochs": 3, "small_size": 20, "amp": "bf16", "teacher": str(teacher)}
    lookalike.train(digits, tmp_path / "run", distill_weight=2.0, average=0.9, chunk=12, **keys)
    rows = history(tmp_path / "run")
    total = sum(rows[name] for name in ("loss_arcface", "loss_koleo", "loss_distill"))
    assert rows["loss"].to_list() == pytest.approx(total.to_list(), rel=1e-4)
    assert rows["loss_distill"][2] < rows["loss_distill"][0] < 2.5
    assert not [name for name in lookalike.load(tmp_path / "run").state_dict() if "projection" in name]
    state = read_state(Checkpoints(tmp_path / "run" / "state").all()[-1])
    assert state["loss"]["losses.distill.projection.weight"].shape == (24, 16)
    assert not [name for name in state["model"] if "teacher" in name]


def test_a_stage_may_do_without_the_teacher_and_the_map_goes_on(digits, teacher, tmp_path):
    stages = [
        {"epochs": 1, "distill_only": True},
        {"epochs": 1},
        {"epochs": 1, "distill_weight": 0.0, "loss": "triplet"},
    ]
    lookalike.train(digits, tmp_path / "run", **SMALL, loss="arcface", teacher=str(teacher), stages=stages)
    rows = history(tmp_path / "run")
    assert rows["loss_distill"].to_list()[1] is not None and rows["loss_distill"][2] is None
    assert rows["loss_distill"][1] < rows["loss"][0]


def test_a_stopped_run_goes_on_to_the_last_bit(digits, teacher, tmp_path):
    keys = {**SMALL, **MIXED, "teacher": str(teacher), "save_minutes": 1e-4}
    lookalike.train(digits, tmp_path / "whole", **keys)
    with (
        stop_in_step(9, KeyboardInterrupt()),
        pytest.raises(LookalikeError, match="run the same command again to resume"),
    ):
        lookalike.train(digits, tmp_path / "run", **keys)
    lookalike.train(digits, tmp_path / "run", **keys)
    for name in ("whole", "run"):
        assert history(tmp_path / name)["epoch"].to_list() == [1, 2]
    whole, again = (history(tmp_path / name).drop(TIMES) for name in ("whole", "run"))
    assert again.equals(whole)
    states = [read_state(Checkpoints(tmp_path / name / "state").all()[-1]) for name in ("whole", "run")]
    for part in ("model", "loss"):
        assert all(torch.equal(value, states[1][part][name]) for name, value in states[0][part].items())


def test_going_on_with_another_teacher_is_refused(digits, teacher, tmp_path):
    shutil.copytree(teacher / "model", tmp_path / "teacher")
    keys = {**SMALL, "teacher": str(tmp_path / "teacher")}
    lookalike.train(digits, tmp_path / "run", **keys)
    other = lookalike.load(tmp_path / "teacher")
    torch.nn.init.zeros_(other.head.layer.bias)
    other.save(tmp_path / "teacher")
    with pytest.raises(ConfigError, match="was started with another teacher"):
        lookalike.train(digits, tmp_path / "run", **{**keys, "epochs": 3, "resume.allow": ["epochs"]})


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"distill_only": True}, "give a teacher=FOLDER"),
        ({"teacher": "nowhere"}, "teacher=nowhere cannot be used"),
        ({"teacher": "TEACHER", "distill_weight": 0}, "nothing is learned from the teacher"),
        ({"teacher": "RUN"}, "lies in the run that it is to teach"),
        ({"teacher": "TEACHER", "distill": "mse"}, "distill=mse"),
        ({"mix_share": 1.5}, "mix_share"),
        ({"mixup": -1}, "mixup"),
        (
            {"teacher": "TEACHER", "stages": [{"epochs": 1, "teacher": "x"}]},
            "teacher holds for the whole run",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(keys, words, digits, teacher, tmp_path):
    places = {"TEACHER": str(teacher), "RUN": str(tmp_path / "run" / "model")}
    keys = {key: places.get(value, value) if isinstance(value, str) else value for key, value in keys.items()}
    with pytest.raises(ConfigError, match=words):
        lookalike.train(digits, tmp_path / "run", **SMALL, **keys)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_two_processes_train_with_mixed_images_and_a_teacher(digits, teacher, tmp_path):
    keys = {**SMALL, **MIXED, "loss": ["arcface", "koleo"]}
    lookalike.train(digits, tmp_path / "run", processes=2, teacher=teacher, **keys)
    rows = history(tmp_path / "run")
    assert rows["loss_distill"][1] < rows["loss_distill"][0]
