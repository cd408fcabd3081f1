"""Learning-rate schedules are those of torch, start and end where they say, and go on from a checkpoint."""

import json
import math
from functools import partial
from types import SimpleNamespace

import polars as pl
import pytest
import torch
from torch.optim import lr_scheduler

from lookalike.data.transforms import Resize
from lookalike.model.backbones import small_cnn
from lookalike.model.embedder import build
from lookalike.model.heads import Linear
from lookalike.model.pooling import Native
from lookalike.training.history import History, Means
from lookalike.training.optimise import Average, shrink_images
from lookalike.training.plateau import Plateau
from lookalike.training.schedules import constant, cosine, cyclic, exponential, multi_step, one_cycle, step
from lookalike.training.stage import Stage, TrainingProgress

STEPS, EPOCHS = 60, 12
EVERY = [cosine, constant, step, multi_step, exponential, cyclic, one_cycle]


def of_torch(make, steps=STEPS) -> list[float]:
    """The rates of one of torch's schedules around a full rate of 1, before each step."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0, momentum=0.9)
    schedule, rates = make(optimizer), []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return rates


def ours(schedule, steps=STEPS) -> list[float]:
    return [schedule(done / steps) for done in range(steps)]


def test_cosine_rises_then_falls_to_the_floor():
    assert cosine(0.0, warmup=0.1) == 0
    assert cosine(0.05, warmup=0.1) == pytest.approx(0.5)
    assert cosine(0.1, warmup=0.1) == pytest.approx(1)
    assert cosine(0.55, warmup=0.1) == pytest.approx(0.5)
    assert cosine(1.0, warmup=0.1, floor=0.2) == pytest.approx(0.2)
    assert cosine(0.0, warmup=0.0) == 1


def test_constant_and_step():
    assert [constant(p, warmup=0.5) for p in (0.25, 0.5, 1.0)] == [0.5, 1, 1]
    assert [step(p, every=0.4, factor=0.1) for p in (0.0, 0.39, 0.4, 0.8)] == pytest.approx([1, 1, 0.1, 0.01])


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        (
            partial(cosine, warmup=0, floor=0.1),
            lambda o: lr_scheduler.CosineAnnealingLR(o, STEPS, eta_min=0.1),
        ),
        (partial(step, every=0.25, factor=0.3), lambda o: lr_scheduler.StepLR(o, STEPS // 4, 0.3)),
        (
            partial(multi_step, milestones=[0.8, 0.2, 0.5, 0.5], factor=0.3),
            lambda o: lr_scheduler.MultiStepLR(o, [12, 30, 30, 48], 0.3),
        ),
        (partial(exponential, factor=0.02), lambda o: lr_scheduler.ExponentialLR(o, 0.02 ** (1 / STEPS))),
        (
            partial(exponential, factor=0.9, every=1, unit="epochs", epochs=EPOCHS),
            lambda o: lr_scheduler.ExponentialLR(o, 0.9 ** (EPOCHS / STEPS)),
        ),
        (
            partial(cyclic, low=0.2, up=0.1, down=0.2),
            lambda o: lr_scheduler.CyclicLR(o, 0.2, 1, 6, 12, "triangular"),
        ),
        (
            partial(cyclic, low=0.2, up=1, mode="triangular2", unit="epochs", epochs=EPOCHS),
            lambda o: lr_scheduler.CyclicLR(o, 0.2, 1, 5, mode="triangular2"),
        ),
        (
            partial(cyclic, low=0.2, up=0.1, mode="exp_range", decay=0.3),
            lambda o: lr_scheduler.CyclicLR(o, 0.2, 1, 6, mode="exp_range", gamma=0.3 ** (1 / STEPS)),
        ),
        (
            partial(constant, warmup=0.5),
            lambda o: lr_scheduler.LinearLR(o, 1e-12, 1.0, total_iters=STEPS // 2),
        ),
    ],
)
def test_the_rates_are_those_of_torch(mine, theirs):
    assert ours(mine) == pytest.approx(of_torch(theirs), abs=1e-9)


@pytest.mark.parametrize(("shape", "name"), [("cosine", "cos"), ("linear", "linear")])
def test_one_cycle_is_that_of_torch(shape, name):
    expected = of_torch(
        lambda o: lr_scheduler.OneCycleLR(o, 1.0, STEPS, pct_start=0.25, anneal_strategy=name), STEPS - 1
    )
    last = STEPS - 1  # where torch, which never sees the end of training, is at its lowest
    mine = partial(one_cycle, warmup=(0.25 * STEPS - 1) / last, shape=shape)
    assert [mine(done / last) for done in range(last)] == pytest.approx(expected, abs=1e-9)
    assert mine(1.0) == pytest.approx(4e-6)


def test_plateau_is_that_of_torch():
    scores = [0.1, 0.3, 0.3, 0.305, 0.2, 0.4, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1]
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = lr_scheduler.ReduceLROnPlateau(
        optimizer, "max", 0.5, patience=1, threshold=0.01, threshold_mode="abs", min_lr=0.1
    )
    mine = Plateau(factor=0.5, patience=1, threshold=0.01, floor=0.1)
    for score in scores:
        mine.observe(score)
        theirs.step(score)
        assert mine(0.5) == pytest.approx(optimizer.param_groups[0]["lr"])
    assert mine(0.5) == 0.1


def test_plateau_warms_up_and_goes_on_from_its_state():
    scores = [0.5, 0.5, 0.5, 0.4, 0.6, 0.5, 0.5, 0.5]
    whole, first = Plateau(patience=1, warmup=0.5), Plateau(patience=1, warmup=0.5)
    assert [whole(p) for p in (0, 0.25, 0.5)] == [0, 0.5, 1]
    for score in scores:
        whole.observe(score)
        first.observe(score)
        kept = json.loads(json.dumps(first.state_dict()))
        first = Plateau(patience=1, warmup=0.5)
        first.load_state_dict(kept)
        assert first.state_dict() == whole.state_dict()
    assert whole(0.9) == pytest.approx(0.01)


def test_a_fresh_plateau_survives_the_checkpoint():
    plateau = Plateau()
    plateau.load_state_dict(json.loads(json.dumps(plateau.state_dict())))
    plateau.observe(-5.0)
    assert plateau.best == -5.0


def test_a_score_that_is_no_number_is_no_better():
    plateau = Plateau(patience=0)
    plateau.observe(math.nan)
    assert plateau(1.0) == pytest.approx(0.1)


@pytest.mark.parametrize("schedule", EVERY)
def test_warm_up_and_epochs_mean_the_same_in_every_schedule(schedule):
    short = {"warmup": 0.25} if schedule is not one_cycle else {"warmup": 0.25, "start": 0.0}
    in_epochs = {**short, "warmup": 3.0, "unit": "epochs", "epochs": EPOCHS}
    assert schedule(0.0, **short) == 0
    rising = [schedule(0.25 * share, **short) for share in (0.01, 0.3, 0.6)]
    assert sorted(rising) == rising and rising[0] > 0
    if schedule in (cosine, constant, one_cycle):
        assert ours(partial(schedule, **in_epochs)) == pytest.approx(ours(partial(schedule, **short)))
    for epochs in (0, 1):
        found = ours(partial(schedule, **{**in_epochs, "epochs": epochs}))
        assert all(0 <= factor <= 1 for factor in found)


@pytest.mark.parametrize("schedule", [*EVERY, lambda progress, **values: Plateau(**values)(progress)])
def test_a_share_above_one_is_refused(schedule):
    with pytest.raises(ValueError, match="warmup 3: a share of training is at most 1; with unit=epochs"):
        schedule(0.0, warmup=3)


def test_milestones_may_lie_beyond_a_short_trial():
    assert multi_step(0.99, milestones=[30, 60], unit="epochs", epochs=2) == 1
    with pytest.raises(ValueError, match="milestones 60"):
        multi_step(0.0, milestones=[30, 60])


def test_history_is_a_whole_csv_after_every_row(tmp_path):
    history = History(tmp_path / "history.csv")
    history.add({"epoch": 1, "loss": 0.123456789})
    assert pl.read_csv(history.file).to_dicts() == [{"epoch": 1, "loss": 0.123457}]
    history.add({"epoch": 2, "loss": 0.1, "val_map@r": 0.5})
    rows = pl.read_csv(history.file).to_dicts()
    assert rows[0]["val_map@r"] is None
    assert rows[1] == {"epoch": 2, "loss": 0.1, "val_map@r": 0.5}
    assert [file.name for file in tmp_path.iterdir()] == ["history.csv"]


def test_means_count_images():
    means = Means()
    assert math.isnan(means.mean_of("loss"))
    means.add({"loss": torch.tensor(1.0)}, 3)
    means.add({"loss": torch.tensor(5.0)}, 1)
    assert means.all_means() == {"loss": 2.0}


def test_shrink_keeps_the_colours_and_leaves_small_images_alone():
    images = torch.full((1, 3, 8, 8), 51, dtype=torch.uint8)
    assert shrink_images(images, 0) is images
    assert shrink_images(images, 8) is images
    torch.testing.assert_close(shrink_images(images, 4), torch.full((1, 3, 4, 4), 0.2))


def test_average_trails_the_weights_and_follows_counts():
    model = build(small_cnn([2, 2]), Native(), Linear, 3, Resize(28))
    averaged = Average(model, decay=0.5)
    with torch.no_grad():
        start = model.head.layer.bias.clone()
        model.head.layer.bias.add_(1.0)
        model.backbone.body[0][1].num_batches_tracked += 7
    averaged.update(model)
    torch.testing.assert_close(averaged.model.head.layer.bias, start + 0.9)
    averaged.update(model)
    torch.testing.assert_close(averaged.model.head.layer.bias, start + 1 - 0.1 * 2 / 11)
    assert averaged.model.backbone.body[0][1].num_batches_tracked == 7


@pytest.mark.parametrize("epochs", [1, 2, 3])
@pytest.mark.parametrize("schedule", EVERY)
@pytest.mark.parametrize("warmup", [None, 1.0])
def test_a_run_of_very_few_steps_learns_in_every_one(schedule, epochs, warmup):
    schedule = partial(schedule, **({} if warmup is None else {"warmup": warmup}))
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    made = {"total": epochs, "optimizer": optimizer, "rates": [1.0], "loss": torch.nn.ReLU()}
    stage = SimpleNamespace(**made, plan=SimpleNamespace(schedule=schedule))
    for number in range(1, epochs + 1):
        Stage.set_progress(stage, TrainingProgress(step=number))
        assert optimizer.param_groups[0]["lr"] > 1e-3, number
