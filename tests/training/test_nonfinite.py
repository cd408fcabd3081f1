"""A step without numbers is as if it had not been; its batch is kept; three in a row end the run."""

import json
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tests.training.test_run import SMALL, dataset  # noqa: F401 - a fixture
from torch import nn

import lookalike
from lookalike.data.images import Batch
from lookalike.data.table import Table
from lookalike.errors import LookalikeError
from lookalike.losses.modifiers import Terms
from lookalike.training.nonfinite import MAX_KEPT, NonFiniteSteps
from lookalike.training.processes import make_accelerator
from ranks import run_ranks

NAN, INF = float("nan"), float("inf")


class Scaler:
    """What a gradient scaler says of itself."""

    def __init__(self, scale):
        self.scale, self.updates = scale, 0

    def is_enabled(self):
        return True

    def get_scale(self):
        return self.scale

    def update(self):
        self.updates += 1


@pytest.fixture
def steps(tmp_path):
    labels = ["a", '=b,"c', "日本"]
    frame = pl.DataFrame({"path": [f"{n}.png" for n in range(3)], "label": labels, "split": ["train"] * 3})
    frame.write_csv(tmp_path / "table.csv")
    table = lookalike.read_table(tmp_path / "table.csv", files=False)
    return NonFiniteSteps(tmp_path / "run", table, make_accelerator("no", torch.device("cpu")))


def batch(rows=(0, 2)):
    images = torch.full((len(rows), 3, 4, 5), 7, dtype=torch.uint8)
    return Batch(images, torch.tensor(rows), torch.tensor(rows), [])


def step(steps, loss, gradient=1.0, number=1, vectors=None):
    vectors = torch.ones(2, 4) if vectors is None else vectors
    steps.is_finite(torch.tensor(loss), batch(), vectors)
    return steps.step_is_finite(torch.tensor(gradient), step=number, epoch=1)


@pytest.mark.parametrize(("loss", "gradient"), [(NAN, 1.0), (INF, 1.0), (1.0, NAN), (1.0, INF), (-INF, NAN)])
def test_a_bad_step_is_not_made(steps, loss, gradient):
    assert step(steps, 1.0)
    assert not step(steps, loss, gradient)
    assert step(steps, 1.0, number=2)
    assert steps.summary().startswith("1 step was skipped")
    assert steps.summary() == ""


def test_buffers_are_as_before_the_bad_step(steps):
    norm = nn.BatchNorm1d(4)
    steps.follow(norm)
    norm(torch.randn(8, 4))
    assert step(steps, 1.0)
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    norm(torch.full((8, 4), NAN))
    assert not step(steps, NAN)
    assert all(torch.equal(value, before[name]) for name, value in norm.state_dict().items())


def test_the_batch_is_kept_with_its_images_paths_labels_and_embeddings(steps, tmp_path):
    step(steps, NAN, NAN, number=12, vectors=torch.tensor([[3.0, 4.0], [NAN, 0.0]]))
    place = tmp_path / "run" / "bad_batches" / "step_12"
    kept = pl.read_csv(place / "rows.csv")
    assert kept["path"].to_list() == ["0.png", "2.png"]
    assert kept["label"].to_list() == ["a", "日本"]
    assert kept["embedding_length"].to_list() == ["5.0", "nan"]
    with Image.open(place / kept["image"][0]) as picture:
        assert np.asarray(picture).shape == (4, 5, 3)
        assert (np.asarray(picture) == 7).all()
    assert load_file(place / "embeddings.safetensors")["embeddings"].shape == (2, 2)
    facts = json.loads((place / "batch.json").read_text())
    assert (facts["step"], facts["loss"], facts["gradient_length"]) == (12, "nan", "nan")


def test_three_in_a_row_end_the_run_others_do_not(steps, tmp_path):
    for number, loss in enumerate([NAN, NAN, 1.0, NAN, NAN]):
        step(steps, loss, number=number)
    with pytest.raises(LookalikeError, match=r"3 steps in a row.*bad_batches.*Lower the learning rates"):
        step(steps, NAN, number=5)


def test_how_many_in_a_row_survives_a_restart(steps):
    step(steps, NAN)
    step(steps, NAN, number=2)
    state = steps.state_dict()
    steps.in_a_row = 0
    steps.load_state_dict(state)
    with pytest.raises(LookalikeError, match="in a row"):
        step(steps, NAN, number=3)


def test_not_more_than_some_are_kept(steps, tmp_path):
    for number in range(MAX_KEPT + 3):
        step(steps, NAN, number=2 * number)
        step(steps, 1.0, number=2 * number + 1)
    assert len(list((tmp_path / "run" / "bad_batches").iterdir())) == MAX_KEPT
    assert steps.summary().startswith(f"{MAX_KEPT + 3} steps were skipped")


def test_a_full_disk_does_not_end_the_run(steps, monkeypatch, caplog):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lookalike.training.nonfinite.save_file", full)
    assert not step(steps, NAN)
    assert "could not be kept" in caplog.text


def test_an_overflow_that_the_scaler_handles_is_no_failure(steps):
    steps.accelerator.scaler = scaler = Scaler(65536.0)
    assert all(step(steps, 1.0, INF) for _ in range(5))
    assert not step(steps, NAN, INF)
    assert scaler.updates == 1
    scaler.scale = 0.5
    assert not step(steps, 1.0, INF)


def test_with_several_batches_to_a_step_the_bad_one_is_kept(steps, tmp_path):
    steps.is_finite(torch.tensor(1.0), batch((0,)), torch.ones(1, 2))
    steps.is_finite(torch.tensor(NAN), batch((1,)), torch.ones(1, 2))
    steps.is_finite(torch.tensor(1.0), batch((2,)), torch.ones(1, 2))
    assert not steps.step_is_finite(torch.tensor(NAN), step=3, epoch=1)
    kept = pl.read_csv(tmp_path / "run" / "bad_batches" / "step_3" / "rows.csv")
    assert kept["label"].to_list() == ['=b,"c']


def nan_at(monkeypatch, *calls):
    """Let the loss be no number in these calls, with a gradient that poisons everything."""
    original = Terms.forward

    def forward(self, embeddings, labels):
        value = original(self, embeddings, labels)
        self.calls = getattr(self, "calls", 0) + 1  # in the loss, so that a dry run does not count
        return value * NAN if self.calls in calls else value

    monkeypatch.setattr(Terms, "forward", forward)


def weights(out):
    return {name: value.clone() for name, value in lookalike.load(out).state_dict().items()}


def test_training_goes_on_after_a_bad_batch(dataset, tmp_path, monkeypatch):  # noqa: F811
    keys = {**SMALL, "memory": 32, "head": "batch_norm", "loss": "contrastive", "augment": "none"}
    nan_at(monkeypatch, 3)
    lookalike.train(dataset, tmp_path / "run", val_share=0.3, **keys)
    assert all(value.isfinite().all() for value in weights(tmp_path / "run").values())
    history = pl.read_csv(tmp_path / "run" / "history.csv")
    assert history["loss"].is_finite().all()
    assert "1 step was skipped" in history["notes"][0]
    assert (tmp_path / "run" / "bad_batches" / "step_3" / "rows.csv").is_file()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="fp16 needs a GPU")
def test_with_fp16_it_goes_on_too(dataset, tmp_path, monkeypatch):  # noqa: F811
    nan_at(monkeypatch, 3)
    lookalike.train(dataset, tmp_path / "run", val_share=0.3, **{**SMALL, "amp": "fp16", "device": "cuda"})
    assert all(value.isfinite().all() for value in weights(tmp_path / "run").values())


def test_a_run_that_ends_so_may_be_started_with_other_values(dataset, tmp_path, monkeypatch):  # noqa: F811
    with monkeypatch.context() as broken:
        nan_at(broken, *range(1, 100))
        with pytest.raises(LookalikeError, match="bad_batches; rows"):
            lookalike.train(dataset, tmp_path / "run", val_share=0.3, **SMALL)
    assert len(list((tmp_path / "run" / "bad_batches").iterdir())) == 3
    lookalike.train(dataset, tmp_path / "run", val_share=0.3, **{**SMALL, "lr": 1e-4})
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["status"] == "finished"


def two(rank, folder):
    """The second process's gradients are bad in its second step."""
    accelerator = SimpleNamespace(
        num_processes=2,
        process_index=rank,
        is_main_process=rank == 0,
        device=torch.device("cpu"),
        scaler=None,
    )
    frame = pl.DataFrame({"path": ["0.png", "1.png"], "label": ["a", "b"], "split": ["train"] * 2})
    steps = NonFiniteSteps(folder, Table(frame, folder), accelerator)
    passed = []
    for number in (1, 2, 3):
        steps.is_finite(torch.tensor(1.0), batch((rank,)), torch.ones(2, 4))
        gradient = torch.tensor(NAN if rank == 1 and number == 2 else 1.0)
        passed.append(steps.step_is_finite(gradient, step=number, epoch=1))
    (folder / f"{rank}.json").write_text(json.dumps(passed))


@pytest.mark.slow
def test_all_processes_skip_together_and_the_main_one_keeps_the_whole_batch(tmp_path):
    run_ranks(two, tmp_path)
    assert [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)] == [
        [True, False, True]
    ] * 2
    kept = pl.read_csv(tmp_path / "bad_batches" / "step_2" / "rows.csv")
    assert kept["label"].to_list() == ["a", "b"]
    assert len(list((tmp_path / "bad_batches" / "step_2").glob("*.png"))) == 2
