"""Which epoch is kept, what validation images can tell, and what happens where they tell nothing."""

import json
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch
from tests.training.training_steps import after_each_step
from torch import nn

import lookalike
from lookalike.errors import ConfigError, LookalikeError
from lookalike.evaluation.evaluate import evaluate
from lookalike.losses import Contrastive
from lookalike.metrics.records import sign_of
from lookalike.training.history import Result
from lookalike.training.validation import check_embeddings, check_metric, keep_best, standard_error, support

SMALL = {
    "backbone": "small_cnn",
    "backbone.channels": [8, 16],
    "image_size": 28,
    "dim": 16,
    "epochs": 3,
    "sampler.classes_per_batch": 4,
    "sampler.samples_per_class": 4,
    "progress": False,
    "workers": 0,
    "device": "cpu",
}


def table_of(folder: Path, shapes_folder: Path, validation: dict[int, int]) -> Path:
    """Six classes to train on, and of each further class as many validation images as asked for."""
    folder.mkdir()
    rows = []
    for number, place in enumerate(sorted(shapes_folder.iterdir())):
        files = sorted(place.glob("*.png"))
        if number < 6:
            rows += [(str(file), place.name, "train") for file in files]
        rows += [(str(file), place.name, "val") for file in files[: validation.get(number - 6, 0)]]
    frame = pl.DataFrame(rows, schema=["path", "label", "split"], orient="row")
    frame.write_parquet(folder / "table.parquet")
    return folder


def keep_over_epochs(scores: list[float | None], metric: str, error: float = 0.0) -> Result:
    result, model = Result(), SimpleNamespace(save=lambda folder, card_text: None)
    for epoch, score in enumerate(scores, 1):
        keep_best(model, score, metric, Path(), result, epoch, error)
    return result


@pytest.mark.parametrize(
    ("metric", "scores", "epoch", "score"),
    [
        ("map@r", [0.1, 0.3, 0.2], 2, 0.3),
        ("loss", [0.1, 0.3, 0.05, 0.2], 3, 0.05),
        ("positive_similarity_mean", [0.3, 0.5, 0.2], 2, 0.5),
        ("positive_euclidean_mean", [0.3, 0.1, 0.2], 2, 0.1),
        ("negative_similarity_mean", [0.3, 0.1, 0.2], 2, 0.1),
        ("map@r", [math.nan, 0.3, math.nan, 0.2], 2, 0.3),
        ("loss", [math.nan, 0.3, -math.inf, math.nan], 2, 0.3),
        ("map@r", [None, math.inf, None], 3, None),
        ("map@r", [0.3, 0.5, 0.5, 0.4], 3, 0.5),
        ("map@r", [1.0, 1.0, 1.0], 3, 1.0),
        ("map@r", [0.5, None, 0.4], 1, 0.5),
    ],
)
def test_the_best_epoch_is_kept_and_nan_never_is(metric, scores, epoch, score):
    result = keep_over_epochs(scores, metric)
    assert (result.best_epoch, result.best_score) == (epoch, score)


@pytest.mark.parametrize(
    ("metric", "scores", "error", "kept", "peak"),
    [
        ("map@r", [0.5, 0.7, 0.65, 0.68], 0.05, (4, 0.68), (2, 0.7)),
        ("map@r", [0.5, 0.7, 0.6, 0.64], 0.05, (2, 0.7), (2, 0.7)),
        ("map@r", [0.7, 0.66, 0.62, 0.58], 0.05, (2, 0.66), (1, 0.7)),  # not by small steps
        ("loss", [0.3, 0.32, 0.4], 0.05, (2, 0.32), (1, 0.3)),
        ("map@r", [0.7, math.nan, 0.66], 0.05, (3, 0.66), (1, 0.7)),
        ("map@r", [0.6, 0.58, 0.61], 0.05, (3, 0.61), (3, 0.61)),
    ],
)
def test_a_later_epoch_is_kept_unless_it_is_worse_by_more_than_the_standard_error(
    metric, scores, error, kept, peak
):
    result = keep_over_epochs(scores, metric, error)
    assert (result.best_epoch, result.best_score) == kept
    assert (result.peak_epoch, result.peak_score) == peak
    resumed = Result()
    resumed.load_state_dict(result.state_dict())
    assert resumed == result


def test_the_standard_error_is_that_of_resampled_identities():
    rng = np.random.default_rng(0)
    identities = np.repeat(np.arange(40), rng.integers(1, 9, 40))
    values = rng.uniform(size=40)[identities] + 0.1 * rng.normal(size=len(identities))
    means = []
    for _ in range(4000):
        counts = np.bincount(rng.integers(40, size=40), minlength=40)[identities]
        means.append((values * counts).sum() / counts.sum())
    assert standard_error(values, identities) == pytest.approx(np.std(means), rel=0.05)
    with_nan = np.append(values, math.nan)
    assert standard_error(with_nan, np.append(identities, 99)) == standard_error(values, identities)
    assert standard_error(values[:1], identities[:1]) == standard_error(values[:0], identities[:0]) == 0


def test_an_equally_good_epoch_does_not_count_as_better_for_patience():
    result = keep_over_epochs([0.1, 0.5, 0.5, 0.5], "map@r")
    assert (result.best_epoch, result.improved_epoch, result.equal_epochs) == (4, 2, 3)


def test_every_metric_of_evaluation_has_a_direction_that_a_perfect_model_confirms():
    rng, labels = np.random.default_rng(0), np.arange(400) // 4
    good = rng.normal(size=(100, 16))[labels] + 0.1 * rng.normal(size=(400, 16))
    perfect, random = (
        evaluate(vectors, labels, intervals=False).metrics for vectors in (good, rng.normal(size=(400, 16)))
    )
    for name in perfect:
        if sign_of(name) and not name.startswith("negative"):  # those hardly depend on the model
            assert sign_of(name) * (perfect[name]["value"] - random[name]["value"]) > 0, name
        if not sign_of(name):
            with pytest.raises(ConfigError, match="no value of it is better"):
                check_metric(name)
        else:
            check_metric(name)


@pytest.mark.parametrize(
    ("labels", "problem", "constant", "supported"),
    [
        ([0, 1, 2], "of 3 identities, one each", [], []),
        ([0], "1 readable validation image", [], []),
        ([0, 0], "", ["map@r", "recall@1"], ["positive_similarity_mean"]),
        ([0] * 6, "", ["map@r", "map", "precision@10"], ["positive_euclidean_mean"]),
        ([0, 0, 1], "", [], ["map@r", "auc"]),
        ([0, 0, 1, 1], "", ["recall@5", "recall@10"], ["loss", "map@r", "recall@1"]),
        (["a", "a", "b", "b", "c"], "", [], ["loss", "map@r"]),
        (list(np.arange(3000) // 3), "", [], ["loss", "map@r", "tar@far=0.001"]),
    ],
)
def test_what_validation_labels_can_tell(labels, problem, constant, supported):
    found = support(np.array(labels))
    assert problem in found.problem
    assert bool(problem) == bool(found.problem)
    assert set(constant) <= set(found.constant)
    assert set(supported) <= set(found.metrics)
    assert all(found.reason(name) for name in constant)
    assert not any(found.reason(name) for name in supported)


@pytest.mark.parametrize("validation", [{0: 1}, {0: 1, 1: 1}, {0: 2}, {0: 8}])
def test_validation_that_cannot_choose_is_said_and_the_last_epoch_is_kept(
    validation, shapes_folder, tmp_path, caplog
):
    data = table_of(tmp_path / "data", shapes_folder, validation)
    lookalike.train(data, tmp_path / "run", patience=1, **SMALL)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["status"], summary["epochs"], summary["best_epoch"]) == ("finished", 3, 3)
    assert caplog.text.count("validation cannot choose an epoch") == 1
    assert "and patience is ignored" in caplog.text


@pytest.mark.parametrize("metric", ["tar@far=0.001", "auc", "loss"])
def test_a_metric_that_the_validation_images_do_not_support_is_refused(metric, shapes_folder, tmp_path):
    data = table_of(tmp_path / "data", shapes_folder, {0: 4})
    with pytest.raises(ConfigError, match=f"best_metric={metric}: .*support positive_similarity_mean"):
        lookalike.train(data, tmp_path / "run", best_metric=metric, **SMALL)
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_a_plateau_needs_a_score_that_the_validation_images_support(shapes_folder, tmp_path):
    data = table_of(tmp_path / "data", shapes_folder, {0: 1, 1: 1})
    with pytest.raises(ConfigError, match="scheduler=plateau waits for it"):
        lookalike.train(data, tmp_path / "run", scheduler="plateau", **SMALL)


@pytest.mark.parametrize("readable", [0, 1])
def test_corrupt_validation_images_do_not_end_the_run(readable, shapes_folder, tmp_path, caplog):
    data = table_of(tmp_path / "data", shapes_folder, {0: 3, 1: 3})
    frame = pl.read_parquet(data / "table.parquet")
    rows = np.flatnonzero((frame["split"] == "val").to_numpy())[readable:].tolist()
    paths = frame["path"].to_list()
    for row in rows:
        paths[row] = str(tmp_path / f"{row}.png")
        (tmp_path / f"{row}.png").write_bytes(b"no image")
    frame.with_columns(path=pl.Series(paths)).write_parquet(data / "table.parquet")
    lookalike.train(data, tmp_path / "run", **SMALL)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["status"], summary["best_epoch"]) == ("finished", 3)
    assert (tmp_path / "run" / "model" / "model.safetensors").is_file()
    assert "validation" in caplog.text


class FailsOnce(nn.Module):
    """A loss that the second validation cannot compute; in training it is an ordinary one."""

    def __init__(self):
        super().__init__()
        self.loss, self.count = Contrastive(), SimpleNamespace(validations=0)

    def train(self, mode: bool = True):
        self.count.validations += not mode
        return super().train(mode)

    def forward(self, embeddings, labels):
        if not self.training and self.count.validations == 2:
            raise RuntimeError("out of memory")
        return self.loss(embeddings, labels)


def test_validation_that_fails_in_one_epoch_leaves_the_others(shapes_folder, tmp_path, caplog):
    data = table_of(tmp_path / "data", shapes_folder, {0: 4, 1: 4})
    lookalike.train(data, tmp_path / "run", **SMALL | {"loss": FailsOnce()})
    history = pl.read_csv(tmp_path / "run" / "history.csv")
    assert history["val_map@r"].is_null().to_list() == [False, True, False]
    assert "validation failed: RuntimeError: out of memory" in history["notes"][1]
    assert "epoch 2: validation failed" in caplog.text
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["best_epoch"] != 2


@pytest.mark.parametrize("vectors", [np.zeros((3, 4)), np.full((3, 4), np.nan), np.full((3, 4), np.inf)])
def test_a_dead_network_is_an_error_that_says_what_to_do(vectors):
    with pytest.raises(LookalikeError, match="Lower the learning rates"):
        check_embeddings(vectors)


@pytest.mark.parametrize("validation", [{}, {0: 4, 1: 4}])
def test_a_network_that_dies_ends_the_run_with_advice_and_the_right_epoch(
    validation, shapes_folder, tmp_path, caplog
):
    data = table_of(tmp_path / "data", shapes_folder, validation)
    first_epoch = []

    def die(number, optimizer):
        if (tmp_path / "run" / "history.csv").exists():
            with torch.no_grad():
                for parameter in (p for group in optimizer.param_groups for p in group["params"]):
                    parameter.zero_()
        else:
            first_epoch.append(number)

    keys = SMALL | {"average": 0, "val_share": 0, "loss": "contrastive"}
    with (
        after_each_step(die),
        pytest.raises(LookalikeError, match=r"the network is dead.*Lower the learning rates"),
    ):
        lookalike.train(data, tmp_path / "run", **keys)
    assert first_epoch
    assert "training failed in epoch 2" in caplog.text
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["status"], summary["epochs"], summary["best_epoch"]) == ("stopped", 1, 1)
    assert lookalike.load(tmp_path / "run").dim == 16
