"""Training in stages: what changes, what goes on, and what is refused before anything is trained."""

import json
import random
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from tests.training.test_resume import assert_same, command, end_state, start, wait_for_checkpoint
from tests.training.training_steps import after_each_step

import lookalike
from lookalike.cli.train import Config, main, stage_configs
from lookalike.config import load
from lookalike.errors import ConfigError
from lookalike.training.checkpoint import Checkpoints, read_state

SMALL = {
    "backbone": "small_cnn",
    "backbone.channels": [8, 16],
    "image_size": 28,
    "dim": 16,
    "epochs": 2,
    "sampler.classes_per_batch": 4,
    "sampler.samples_per_class": 4,
    "val_share": 0.3,
    "progress": False,
    "workers": 0,
    "device": "cpu",
}
STAGES = [
    {"epochs": 1, "freeze": ["backbone"], "loss": ["triplet", "arcface"], "lr": 0.01},
    {
        "epochs": 2,
        "unfreeze": ["backbone.body.0"],
        "freeze": ["backbone"],
        "loss": ["contrastive", "arcface"],
    },
    {"epochs": 1, "optimizer": "sgd", "scheduler": "constant", "loss": {"multi_similarity": {"alpha": 3.0}}},
]


@pytest.fixture(scope="module")
def dataset(shapes_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "shapes"
    folder.mkdir()
    files = sorted(shapes_folder.glob("*/*.png"))
    labels = [file.parent.name for file in files]
    split = ["train"] * len(files)
    frame = pl.DataFrame({"path": [str(file) for file in files], "label": labels, "split": split})
    frame.write_parquet(folder / "table.parquet")
    return folder


def states(out: Path) -> list[dict]:
    return [read_state(path) for path in Checkpoints(out / "state").all()]


def test_each_stage_has_its_own_losses_rates_and_frozen_parts(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr("lookalike.training.checkpoint.MAX_CHECKPOINTS", 10)
    lookalike.train(dataset, tmp_path / "run", **SMALL, stages=STAGES)
    history = pl.read_csv(tmp_path / "run" / "history.csv")
    assert history["epoch"].to_list() == [1, 2, 3, 4]
    assert history["stage"].to_list() == [1, 2, 2, 3]
    assert history["loss_triplet"].is_null().to_list() == [False, True, True, True]
    assert history["loss_contrastive"].is_null().to_list() == [True, False, False, True]
    assert history["loss_arcface"].is_null().to_list() == [False, False, False, True]
    assert history["lr_backbone"].is_null().to_list() == [True, False, False, False]
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["epochs"], summary["planned_epochs"]) == (4, 4)

    lookalike.train(dataset, tmp_path / "start", **SMALL | {"epochs": 0})
    began = lookalike.load(tmp_path / "start").state_dict()
    first, second, third, last = (state["model"] for state in states(tmp_path / "run"))
    assert changed_names(began, first) == {"head.layer.weight", "head.layer.bias"}
    assert {name.split(".")[2] for name in changed_names(first, second) if "backbone" in name} == {"0"}
    assert changed_names(first, second) == changed_names(second, third)
    assert len(changed_names(third, last)) > len(changed_names(second, third))


def changed_names(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    return {name for name in before if not before[name].equal(after[name])}


def test_a_loss_that_stays_keeps_its_proxies_and_another_starts_at_the_means(dataset, tmp_path, monkeypatch):
    from lookalike.training.stage import Stage

    begun = []

    def note(self, parts, number, before, fresh):
        original(self, parts, number, before, fresh)
        begun.append((before, self.loss))

    original = Stage.__init__
    monkeypatch.setattr(Stage, "__init__", note)
    stages = [{"loss": ["arcface"]}, {"loss.arcface.weight": 2.0}, {"loss.arcface.margin": 0.1}]
    lookalike.train(dataset, tmp_path / "run", **SMALL | {"loss": ["arcface"]}, stages=stages)
    first, second, third = (loss for _, loss in begun)
    assert second.losses["arcface"] is first.losses["arcface"]
    assert second.weights == {"arcface": 2.0}
    assert third.losses["arcface"] is not second.losses["arcface"]
    assert third.losses["arcface"].margin == 0.1


def test_stages_nested_or_dotted_start_from_the_values_of_the_run():
    given = ["dataset=a", "out=b", "loss=[triplet]", "loss.triplet.margin=0.7"]
    asked = "stages=[{epochs: 3, loss.triplet.mining: batch_hard}, {loss: {triplet: {margin: 0.1}}, lr: 0.5}]"
    first, second = stage_configs(load("train", Config, [*given, asked]))
    assert (first.epochs, first.loss["triplet"]["mining"], first.loss["triplet"]["margin"]) == (
        3,
        "batch_hard",
        0.7,
    )
    assert (second.epochs, second.loss["triplet"]["margin"], second.lr) == (12, 0.1, 0.5)
    assert second.loss["triplet"]["mining"] == "batch_all"


def test_a_sampler_of_a_stage_has_the_seed_of_the_run():
    given = ["dataset=a", "out=b", "seed=7", "stages=[{sampler: shuffle}, {}]"]
    assert [stage.sampler["seed"] for stage in stage_configs(load("train", Config, given))] == [7, 7]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            [{"epochs": 1}, {"dim": 32}],
            r"stage 2: dim holds for the whole run; a stage may change epochs",
        ),
        ([{"epoch": 1}], r"stage 1: epoch: train has no such key"),
        ([{"freeze": ["nix"]}], r"^stages: stage 1: freeze: 'nix' matches no part"),
        ([{"sampler.samples_per_class": 0}], r"^stages: stage 1: sampler.* must be above 0"),
        ([{"augment.rotate": -900}], r"^stages: stage 1: augment: rotate -900"),
        ([{"distill_only": True}], r"^stages: stage 1: distill_only=true: give a teacher"),
        (
            [{"loss": ["arcface"], "loss.arcface.margin": -3}],
            r"^stages: stage 1: loss.arcface: ArcFace margin",
        ),
        ([{"lr": "fast"}], r"stage 1: lr=fast: must be a number"),
        (
            [{"loss.triplet.margin": 1}],
            r"loss.triplet=… is not selected|loss: triplet is not selected|is not selected",
        ),
        ([{"loss": ["tripplet"]}], r"tripplet: no such loss. Did you mean triplet"),
        ([{"epochs": 0}], r"a stage has at least one epoch"),
        ([{}, {"freeze": ["backbone.nett"]}], r"'backbone.nett' matches no part of the model; nearest"),
        ([{}, {"class_sample": 0.5}], r"class_sample=0.5: none of multi_similarity is a margin head"),
    ],
)
def test_what_a_stage_may_not_say_is_refused_before_anything_is_trained(dataset, tmp_path, asked, message):
    with pytest.raises(ConfigError, match=message):
        lookalike.train(dataset, tmp_path / "run", **SMALL, stages=asked)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_killed_in_any_stage_it_ends_the_same(dataset, tmp_path):
    stages = (
        "stages=[{epochs: 2, freeze: [backbone]}, {epochs: 2, loss.arcface.margin: 0.2, accumulate: 2}, "
        "{epochs: 2, loss: [sup_con], class_sample: 1.0}]"
    )
    started, whole = time.monotonic(), start(*command(dataset, tmp_path / "whole", stages)[3:])
    whole.join()
    assert whole.exitcode == 0
    seconds, moments, run = time.monotonic() - started, random.Random(1), tmp_path / "run"
    for _ in range(4):
        process = start(*command(dataset, run, stages)[3:])
        process.join(seconds * moments.uniform(0.3, 0.7))
        process.kill()
        process.join()
    process = start(*command(dataset, run, stages)[3:])
    process.join()
    assert process.exitcode == 0
    assert_same(end_state(run), end_state(tmp_path / "whole"))
    assert pl.read_csv(run / "history.csv")["stage"].to_list() == [1, 1, 2, 2, 3, 3]


def test_patience_ends_a_stage_and_the_next_begins(dataset, tmp_path):
    keys = SMALL | {
        "epochs": 30,
        "patience": 2,
        "lr": 1e-9,
        "freeze": ["backbone"],
        "average": 0,
        "augment": "none",
    }
    lookalike.train(dataset, tmp_path / "one", **keys)
    history = pl.read_csv(tmp_path / "one" / "history.csv")
    assert history["epoch"].to_list() == [1, 2, 3]
    assert json.loads((tmp_path / "one" / "summary.json").read_text())["status"] == "finished"
    lookalike.train(dataset, tmp_path / "two", **keys, stages=[{"patience": 1}, {}])
    assert pl.read_csv(tmp_path / "two" / "history.csv")["stage"].to_list() == [1, 1, 2, 2]


def test_accumulated_batches_step_once_with_the_mean_gradient(dataset, tmp_path):
    rates = dict.fromkeys(("lr", "backbone_lr", "loss_lr"), 1e-30)
    keys = SMALL | {"epochs": 1, "sampler.samples_per_class": 2, "clip": None, "optimizer": "sgd"} | rates
    gradients = {1: [], 2: []}
    for accumulate, steps in gradients.items():

        def note(_, optimizer, steps=steps):
            steps.append([p.grad.clone() for g in optimizer.param_groups for p in g["params"]])

        with after_each_step(note):
            lookalike.train(dataset, tmp_path / str(accumulate), **keys, accumulate=accumulate)
    batches = gradients[1]
    assert len(batches) > 3
    assert len(gradients[2]) == -(-len(batches) // 2)
    for number, step in enumerate(gradients[2]):
        window = batches[2 * number : 2 * number + 2]
        for position, gradient in enumerate(step):
            mean = sum(batch[position] for batch in window) / len(window)
            torch.testing.assert_close(gradient, mean)


def test_the_validation_loss_is_the_same_batches_every_epoch(dataset, tmp_path):
    keys = SMALL | {"epochs": 3, "lr": 1e-12, "freeze": ["backbone"], "best_metric": "loss", "average": 0}
    lookalike.train(dataset, tmp_path / "run", **keys)
    losses = pl.read_csv(tmp_path / "run" / "history.csv")["val_loss"].to_list()
    assert np.isfinite(losses).all()
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-5)
    keys = SMALL | {"epochs": 4, "lr": 0.01, "backbone_lr": 0.003, "best_metric": "loss"}
    lookalike.train(dataset, tmp_path / "learns", **keys)
    losses = pl.read_csv(tmp_path / "learns" / "history.csv")["val_loss"].to_list()
    summary = json.loads((tmp_path / "learns" / "summary.json").read_text())
    assert summary["best_epoch"] == 1 + int(np.argmin(losses))
    assert summary["best_score"] == pytest.approx(min(losses), rel=1e-5)


def test_the_validation_loss_is_that_of_the_formula():
    from lookalike.losses import Contrastive, ProxyAnchor, Triplet
    from lookalike.losses.cross_batch_memory import CrossBatchMemory
    from lookalike.losses.modifiers import Terms
    from lookalike.training.validation_loss import validation_loss

    rng = np.random.default_rng(0)
    codes = np.repeat(np.arange(5), 4)
    vectors = rng.normal(size=(20, 6)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    contrastive = Contrastive()
    whole = float(contrastive(torch.from_numpy(vectors), torch.from_numpy(codes)))
    proxies = ProxyAnchor(5, 6)
    terms = Terms({"a": (2.0, contrastive), "b": (1.0, proxies)})
    assert validation_loss(terms, vectors, codes, 0, 5) == pytest.approx({"loss_a": 2 * whole}, rel=1e-5)
    memory = Terms({"a": (1.0, CrossBatchMemory(contrastive, 8, 6))})
    assert validation_loss(memory, vectors, codes, 0, 5) == pytest.approx({"loss": whole}, rel=1e-5)
    other = float(Triplet(mining="semi_hard")(torch.from_numpy(vectors), torch.from_numpy(codes)))
    found = validation_loss(Terms({"b": (1.0, proxies)}), vectors, codes, 0, 5)
    assert found == pytest.approx({"semi_hard_triplet_loss": other}, rel=1e-5)
    assert validation_loss(terms, vectors[:1], codes[:1], 0, 5) == {}


@pytest.mark.slow
def test_a_compiled_model_trains_to_the_same_history(dataset, tmp_path):
    keys = SMALL | {"epochs": 1, "augment": "none"}
    lookalike.train(dataset, tmp_path / "plain", **keys)
    lookalike.train(dataset, tmp_path / "compiled", **keys, compile=True)
    plain, compiled = (pl.read_csv(tmp_path / name / "history.csv") for name in ("plain", "compiled"))
    assert compiled["loss"][0] == pytest.approx(plain["loss"][0], rel=1e-3)
    assert lookalike.load(tmp_path / "compiled").dim == 16


@pytest.mark.slow
def test_sigterm_waits_for_the_end_of_an_accumulated_step(dataset, tmp_path):
    run = tmp_path / "run"
    words = command(dataset, run, "accumulate=2", "epochs=4000", "sampler.samples_per_class=2")
    process = subprocess.Popen(words, stderr=subprocess.DEVNULL)
    wait_for_checkpoint(run)
    process.send_signal(signal.SIGTERM)
    assert process.wait(900) == 0
    for state in states(run):
        _, epoch, _, batch, _, batches = state["position"]
        if batch % 2:  # then it is the last step of an epoch, which takes what is left
            assert batch * (epoch - 1) == batches - batch


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nekonet_1", "nekonet_4", "mnist_schedule"])
def test_the_recipes_train(name, dataset, tmp_path):
    keys = {"+experiment": name, "image_size": 32, "workers": 0, "progress": False, "device": "cpu"}
    given = {"dataset": str(dataset), "out": str(tmp_path / "run"), **keys}
    if name != "mnist_schedule":
        given["backbone.pretrained"] = False
    config = load("train", Config, **given)
    short = [{**stage, "epochs": 1} for stage in config.stages]
    main(config.model_copy(update={"stages": short, "epochs": 4}))
    history = pl.read_csv(tmp_path / "run" / "history.csv")
    assert len(history) == 4
    assert history["loss"].is_finite().all()


def test_every_recipe_has_stages_that_can_be_made():
    for number, count in zip(range(1, 6), (4, 4, 3, 4, 1), strict=True):
        config = load("train", Config, [f"+experiment=nekonet_{number}", "dataset=a", "out=b"])
        assert len(stage_configs(config)) == count
