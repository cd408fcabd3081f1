"""Learning-rate schedules start, peak and end where they say; history and average weights keep their word."""

import math

import polars as pl
import pytest
import torch

from lookalike.data.transforms import Resize
from lookalike.model.backbones import small_cnn
from lookalike.model.embedder import build
from lookalike.model.heads import Linear
from lookalike.model.pooling import Native
from lookalike.training.history import History, Means
from lookalike.training.optimise import Average, shrink
from lookalike.training.schedules import constant, cosine, step


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
    assert math.isnan(means.of("loss"))
    means.add({"loss": torch.tensor(1.0)}, 3)
    means.add({"loss": torch.tensor(5.0)}, 1)
    assert means.all() == {"loss": 2.0}


def test_shrink_keeps_the_colours_and_leaves_small_images_alone():
    images = torch.full((1, 3, 8, 8), 51, dtype=torch.uint8)
    assert shrink(images, 0) is images
    assert shrink(images, 8) is images
    torch.testing.assert_close(shrink(images, 4), torch.full((1, 3, 4, 4), 0.2))


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
