"""Trainings with hard negatives, weighted datasets and limited classes: counted, and resumed exactly."""

import json
import random
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from tests.training.test_resume import assert_same, end_state, start

import lookalike
from lookalike.cli.train import Config
from lookalike.config import load
from lookalike.errors import ConfigError, DataError
from lookalike.training.checkpoint import Checkpoints, read_state

SMALL = {
    "backbone": "small_cnn",
    "backbone.channels": [8, 16],
    "image_size": 28,
    "dim": 16,
    "epochs": 3,
    "progress": False,
    "workers": 0,
    "device": "cpu",
}
HARD = {
    "sampler": "hard_negatives",
    "sampler.triplets_per_batch": 6,
    "sampler.candidates": 20,
    "sampler.hard_from": 2,
    "sampler.refresh_every": 3,
    "loss": "triplet",
}
MIXED = {
    "sampler.classes_per_batch": 5,
    "sampler.samples_per_class": 2,
    "dataset_weights": [1, 3],
    "undersample": 4,
    "oversample": 3,
}
SHUFFLED = {"sampler": "shuffle", "sampler.batch_size": 9, "loss": "arcface"}


def write(folder: Path, files: list[Path], labels: list[str]) -> Path:
    folder.mkdir(parents=True)
    frame = pl.DataFrame(
        {"path": [str(file) for file in files], "label": labels, "split": ["train"] * len(files)}
    )
    frame.write_parquet(folder / "table.parquet")
    return folder


@pytest.fixture(scope="module")
def dataset(shapes_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eighty shapes of ten classes; the last two files of one class are no pictures."""
    folder = tmp_path_factory.mktemp("data")
    files = sorted(shapes_folder.glob("*/*.png"))
    labels = [file.parent.name for file in files]
    bad = [folder / f"bad{number}.png" for number in range(2)]
    for file in bad:
        file.write_bytes(b"no picture")
    return write(folder / "shapes", [*files, *bad], [*labels, labels[-1], labels[-1]])


@pytest.fixture(scope="module")
def halves(shapes_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The shapes as two datasets, of four and of six classes."""
    folder = tmp_path_factory.mktemp("halves")
    files = sorted(shapes_folder.glob("*/*.png"))
    parts = {"few": files[:32], "more": files[32:]}
    return [str(write(folder / name, part, [f.parent.name for f in part])) for name, part in parts.items()]


def values(dataset, out, **keys):
    return load("train", Config, **{"dataset": dataset, "out": str(out), **SMALL, **keys})


def uses_of(out: Path) -> np.ndarray:
    frame = pl.read_csv(out / "image_uses.csv")
    assert frame.columns == ["row", "path", "uses"]
    assert frame["row"].to_list() == list(range(len(frame)))
    return frame["uses"].to_numpy()


def test_hard_negatives_train_and_every_use_is_counted(dataset, tmp_path, caplog):
    caplog.set_level("INFO", logger="lookalike")
    out = tmp_path / "run"
    lookalike.train(str(dataset), out, **SMALL, **HARD, val_share=0.3)
    assert "negatives are hard from epoch 2 on" in caplog.text
    history, uses = pl.read_csv(out / "history.csv"), uses_of(out)
    paths = pl.read_csv(out / "image_uses.csv")["path"]
    bad = paths.str.contains("bad").to_numpy()
    assert (uses[bad] == 0).all()
    last = history.row(-1, named=True)
    assert last["images_used"] == np.count_nonzero(uses)
    assert last["uses_mean"] == pytest.approx(uses.mean(), rel=1e-5)
    assert last["uses_std"] == pytest.approx(uses.std(), rel=1e-5)
    assert history["images_used"].is_sorted()
    assert (out / "uses.png").stat().st_size > 5000
    if bad.any():
        assert set(pl.read_csv(out / "skipped.csv")["path"]) == {path for path in paths if "bad" in path}


def test_negatives_are_looked_for_by_what_the_model_makes_of_the_images_now(dataset, tmp_path, monkeypatch):
    """The bank at the end equals embedding with the model of that moment, in evaluation mode."""
    out = tmp_path / "run"
    monkeypatch.setattr("lookalike.training.checkpoint.MAX_CHECKPOINTS", 99)
    keys = {**SMALL, **HARD, "average": 0, "val_share": 0, "sampler.refresh_every": 1}
    lookalike.train(str(dataset), out, **keys)
    for state in map(read_state, Checkpoints(out / "state").all()[:2]):
        model = lookalike.load(out)
        model.load_state_dict(state["model"])
        found = lookalike.embed(model, lookalike.read_table(dataset), progress=False)
        assert state["bank"]["readable"].tolist() == [True] * 80 + [False] * 2
        torch.testing.assert_close(state["bank"]["bank"][:80], torch.from_numpy(found.vectors.copy()))


def resume_from(state: Path, whole: Path, out: Path, config: Config) -> dict[str, object]:
    """What a run comes to that goes on from one checkpoint of another run."""
    from lookalike.cli.train import main

    (out / "state").mkdir(parents=True)
    shutil.copytree(state, out / "state" / state.name)
    shutil.copytree(whole / "model", out / "model")  # the best so far, or what replaces it
    shutil.copy(whole / "config.yaml", out)
    main(config)
    return end_state(out)


@pytest.mark.parametrize(
    ("keys", "several"),
    [
        ({**HARD, "val_share": 0.2}, False),
        pytest.param({**HARD, "sampler.candidates": None, "val_share": 0}, False, marks=pytest.mark.slow),
        ({**MIXED, "val_share": 0}, True),
        pytest.param({**MIXED, **SHUFFLED}, True, marks=pytest.mark.slow),
    ],
    ids=["hard", "exact", "mixed", "shuffled"],
)
def test_it_goes_on_from_any_checkpoint_and_ends_the_same(
    dataset, halves, tmp_path, monkeypatch, keys, several
):
    if keys.get("sampler") == "shuffle":
        keys = {key: v for key, v in keys.items() if "per_" not in key}
    monkeypatch.setattr("lookalike.training.checkpoint.MAX_CHECKPOINTS", 999)
    source, out = halves if several else str(dataset), tmp_path / "whole"
    config = {"save_minutes": 1e-6, **keys}
    lookalike.train(source, out, **{**SMALL, **config})
    everything, uses = end_state(out), uses_of(out)
    checkpoints = Checkpoints(out / "state").all()
    assert len(checkpoints) > 6
    for number, state in enumerate(random.Random(1).sample(checkpoints[2:-1], 2)):
        run = tmp_path / str(number)
        assert_same(resume_from(state, out, run, values(source, run, **config)), everything)
        assert uses_of(run).tolist() == uses.tolist()


@pytest.mark.slow
def test_killed_at_random_moments_hard_negatives_end_the_same(dataset, tmp_path):
    keys = {**SMALL, **HARD, "dataset": dataset, "save_minutes": 0.0001, "epochs": 6, "val_share": 0.3}
    keys["backbone.channels"] = "[8,16]"
    words = ["train", *(f"{key}={value}" for key, value in keys.items())]
    process = start(*words, f"out={tmp_path / 'whole'}")
    process.join()
    assert process.exitcode == 0
    moments = random.Random(0)
    for _ in range(10):
        process = start(*words, f"out={tmp_path / 'run'}")
        process.join(moments.uniform(0.5, 3))
        process.kill()
        process.join()
    process = start(*words, f"out={tmp_path / 'run'}")
    process.join()
    assert process.exitcode == 0
    assert_same(end_state(tmp_path / "run"), end_state(tmp_path / "whole"))


def test_a_stage_with_more_candidates_goes_on_with_the_bank(dataset, tmp_path, caplog):
    caplog.set_level("INFO", logger="lookalike")
    stages = [{"epochs": 2}, {"epochs": 2, "sampler.candidates": 50, "sampler.hard_from": None}]
    lookalike.train(str(dataset), tmp_path / "run", **SMALL, **HARD, val_share=0, stages=stages)
    assert caplog.text.count("negatives are hard from") == 1
    state = read_state(Checkpoints(tmp_path / "run" / "state").all()[-1])
    assert state["bank"]["bank"] is not None


def test_hard_negatives_may_begin_with_the_first_epoch(dataset, tmp_path, caplog):
    caplog.set_level("INFO", logger="lookalike")
    keys = {**SMALL, **HARD, "sampler.hard_from": 1, "epochs": 1}
    lookalike.train(str(dataset), tmp_path / "run", **keys, val_share=0)
    assert "negatives are hard from epoch 1 on" in caplog.text
    assert set(pl.read_csv(tmp_path / "run" / "skipped.csv")["row"]) == {80, 81}


def test_weighted_datasets_fill_their_shares(halves, tmp_path, caplog):
    caplog.set_level("INFO", logger="lookalike")
    lookalike.train(
        halves, tmp_path / "run", **SMALL, **{**MIXED, "undersample": None, "oversample": None}, val_share=0
    )
    assert f"each batch: 1 classes of {halves[0]}, 4 classes of {halves[1]}" in caplog.text
    uses = uses_of(tmp_path / "run")
    assert uses[32:].sum() == 4 * uses[:32].sum()


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"dataset_weights": [1]}, "1 weights for 2 datasets; give one to each of"),
        ({"dataset_weights": [9, 1]}, "5 different classes of each batch would be of .*few, which has 4"),
        (
            {"dataset_weights": [1, 1], "sampler.classes_per_batch": 1},
            "2 datasets do not fit into a batch of 1",
        ),
        ({"dataset_weights": [1, 0]}, "dataset_weights"),
        ({"dataset_weights": [1, 1], **HARD}, "HardNegatives cannot mix datasets"),
        ({"undersample": 5, **HARD}, "undersample=5: sampler HardNegatives cannot limit classes"),
        ({"undersample": 5, "oversample": 9}, "oversample=9 is more than undersample=5"),
        ({"undersample": 0}, "undersample"),
        ({"stages": [{"epochs": 1, "min_per_class": 3}]}, "min_per_class holds for the whole run"),
    ],
)
def test_what_cannot_be_is_refused_by_its_key(halves, tmp_path, keys, said):
    keys = {"sampler.classes_per_batch": 6, **keys} if "sampler" not in keys else keys
    with pytest.raises(ConfigError, match=said):
        lookalike.train(halves, tmp_path / "run", **SMALL, **keys)
    assert not (tmp_path / "run" / "history.csv").exists()


def test_a_dataset_without_training_images_can_have_no_weight(halves, tmp_path):
    frame = pl.read_parquet(Path(halves[0]) / "table.parquet").with_columns(split=pl.lit("test"))
    (tmp_path / "tests").mkdir()
    frame.write_parquet(tmp_path / "tests" / "table.parquet")
    with pytest.raises(ConfigError, match="tests has no training images"):
        lookalike.train(
            [str(tmp_path / "tests"), halves[1]], tmp_path / "run", **SMALL, dataset_weights=[1, 1]
        )


def test_small_classes_are_left_out_and_that_is_said(shapes_folder, tmp_path, caplog):
    caplog.set_level("INFO", logger="lookalike")
    files = sorted(shapes_folder.glob("*/*.png"))[:60]
    small = write(tmp_path / "data", files, [file.parent.name for file in files])
    keys = {**SMALL, "epochs": 1, "sampler.classes_per_batch": 3, "val_share": 0}
    lookalike.train(str(small), tmp_path / "run", **keys, min_per_class=5)
    assert "min_per_class=5: 1 classes with 4 training images are left out" in caplog.text
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["train_images"], summary["train_classes"]) == (56, 7)
    with pytest.raises(DataError, match="min_per_class=9: no class has this many"):
        lookalike.train(str(small), tmp_path / "other", **keys, min_per_class=9)


def test_the_same_label_in_two_tables_is_refused_also_as_number_and_text(tmp_path, shapes_folder):
    files = sorted(shapes_folder.glob("*/*.png"))[:8]
    text = write(tmp_path / "text", files, ["7"] * 8)
    pl.read_parquet(text / "table.parquet").with_columns(label=pl.lit(7)).write_parquet(
        tmp_path / "numbers.parquet"
    )
    with pytest.raises(DataError, match=r"label '7' is in both"):
        lookalike.train([str(text), str(tmp_path / "numbers.parquet")], tmp_path / "run", **SMALL)
    with pytest.raises(ConfigError, match="a dataset is listed twice"):
        lookalike.train([str(text), str(text)], tmp_path / "run", **SMALL)


@pytest.mark.slow
def test_two_processes_share_bank_and_counts(dataset, tmp_path):
    lookalike.train(dataset, tmp_path / "run", processes=2, val_share=0, **SMALL, **HARD)
    state = read_state(Checkpoints(tmp_path / "run" / "state").all()[-1])
    assert state["bank"]["readable"].tolist() == [True] * 80 + [False] * 2
    norms = state["bank"]["bank"][:80].norm(dim=1)
    torch.testing.assert_close(norms, torch.ones(80))
    uses = uses_of(tmp_path / "run")
    batches = pl.read_csv(tmp_path / "run" / "history.csv").height * (81 // 6)
    assert batches * 18 - 3 * 18 <= uses.sum() <= batches * 18
