"""Warnings: given when there is a cause, once, and not where all is well."""

import logging
import math

import numpy as np
import polars as pl
import pytest
import torch

from lookalike.data.table import read_table
from lookalike.losses.contrastive import Contrastive
from lookalike.losses.cross_batch_memory import CrossBatchMemory
from lookalike.losses.modifiers import Terms
from lookalike.losses.multi_similarity import MultiSimilarity
from lookalike.losses.triplet import Triplet
from lookalike.training.diagnostics import Diagnostics, embedding_spread, margin_statistics


def table(tmp_path, sizes):
    rows = [
        {"path": f"{label}{number}.png", "label": label, "split": "train"}
        for label, size in sizes.items()
        for number in range(size)
    ]
    pl.DataFrame(rows).write_csv(tmp_path / "table.csv")
    return read_table(tmp_path / "table.csv", files=False)


@pytest.fixture
def watch(tmp_path):
    return Diagnostics(table(tmp_path, dict.fromkeys("abcdefgh", 4)), "map@r", epochs=10)


LABELS = torch.arange(8).repeat_interleave(4)


def alike(noise=1e-3):
    return torch.ones(32, 16) + noise * torch.randn(32, 16)


def warnings_of_epoch(watch, loss, embeddings, row=None, earlier=()):
    """What the watch says after an epoch that ended with this batch."""
    with torch.no_grad():
        value = loss(embeddings, LABELS)
    watch.update(loss)
    told = {name: float(each) for name, each in loss.logged_values().items()}
    return watch.end_epoch({"epoch": 1, "loss": float(value), **told, **(row or {})}, earlier, loss)


def test_effective_rank_and_similarity_equal_a_slow_reference():
    embeddings = torch.randn(24, 6, generator=torch.Generator().manual_seed(3)) + 0.5
    labels = torch.arange(24) // 5
    unit = embeddings.double().numpy()
    unit = unit / np.linalg.norm(unit, axis=1, keepdims=True)
    pairs = [unit[i] @ unit[j] for i in range(24) for j in range(24) if labels[i] != labels[j]]
    shares = np.linalg.svd(unit, compute_uv=False) ** 2 / 24
    found = embedding_spread(embeddings, labels)
    assert found.similarity == pytest.approx(np.mean(pairs), abs=1e-12)
    assert found.rank == pytest.approx(math.exp(-sum(p * math.log(p) for p in shares)), abs=1e-9)


def test_a_point_and_a_line_have_collapsed_a_cone_of_classes_has_not():
    line = torch.randn(32, 1).sign() * torch.randn(16)
    assert embedding_spread(alike(), LABELS).has_collapsed()
    assert embedding_spread(alike(), LABELS).rank == pytest.approx(1, abs=1e-3)
    assert embedding_spread(line, LABELS).has_collapsed()
    assert not embedding_spread(torch.randn(32, 16), LABELS).has_collapsed()
    cone = 2 * torch.ones(16) + torch.randn(8, 16).repeat_interleave(4, 0)
    assert embedding_spread(cone, LABELS).similarity > 0.7
    assert not embedding_spread(cone, LABELS).has_collapsed()


@pytest.mark.parametrize("labels", [torch.zeros(8), torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])])
def test_two_classes_on_a_line_and_one_class_in_a_point_are_right(labels):
    embeddings = torch.where(labels[:, None] > 0, 1.0, -1.0) * torch.ones(8, 4)
    assert not embedding_spread(embeddings, labels.long()).has_collapsed()


@pytest.mark.parametrize("embeddings", [torch.empty(0, 4), torch.zeros(8, 4), torch.full((8, 4), math.nan)])
def test_batches_that_say_nothing(embeddings):
    found = embedding_spread(embeddings, torch.arange(len(embeddings)))
    assert not found.similarity > 0.5
    assert isinstance(found.has_collapsed(), bool)


@pytest.mark.parametrize("mining", ["batch_all", "batch_hard", "semi_hard", "hard_negative"])
@pytest.mark.parametrize(
    "options", [{"margin": 0.3}, {"margin": 0.1, "distance": "cosine"}, {"soft_margin": True}]
)
def test_a_triplet_loss_at_its_margin(watch, mining, options, caplog):
    loss = Terms({"triplet": (2.0, Triplet(mining=mining, **options))})
    (text,) = warnings_of_epoch(watch, loss, alike(1e-5))
    assert "triplet sits at its margin" in text
    assert "mining=semi_hard" in text
    assert text in caplog.text


def test_the_margin_is_found_in_a_memory_and_among_other_terms(watch):
    memory = CrossBatchMemory(Triplet(margin=0.25), size=64, dim=16)
    loss = Terms({"triplet": (1.0, memory), "contrastive": (0.5, Contrastive())})
    assert margin_statistics(loss) == {"triplet": 0.25}
    assert "margin (0.25)" in warnings_of_epoch(watch, loss, alike(1e-6))[0]
    assert margin_statistics(Terms({"a": (1.0, Triplet(margin=0.0)), "b": (1.0, Contrastive())})) == {}


def test_other_losses_say_that_embeddings_have_collapsed(watch):
    loss = Terms({"multi_similarity": (1.0, MultiSimilarity())})
    (text,) = warnings_of_epoch(watch, loss, alike())
    assert "embeddings have collapsed" in text
    assert "effective rank 1.0 of 16" in text


def test_well_spread_embeddings_are_left_in_peace(watch):
    assert warnings_of_epoch(watch, Terms({"triplet": (1.0, Triplet())}), torch.randn(32, 16)) == []


def test_no_active_triplets(watch):
    centres = 10 * torch.eye(16)[:8].repeat_interleave(4, 0)
    (text,) = warnings_of_epoch(watch, Terms({"triplet": (1.0, Triplet())}), centres)
    assert "hardly any triplet or pair of triplet is active (0.00%)" in text
    assert "loss.triplet.margin" in text


def test_a_warning_comes_once_and_again_after_it_was_gone(watch, caplog):
    loss = Terms({"multi_similarity": (1.0, MultiSimilarity())})
    with caplog.at_level(logging.WARNING):
        said = [
            bool(warnings_of_epoch(watch, loss, each))
            for each in (alike(), alike(), torch.randn(32, 16), alike())
        ]
    assert said == [True, False, False, True]
    assert len(caplog.records) == 2


def test_what_was_said_and_seen_survives_a_restart(watch, tmp_path):
    loss = Terms({"multi_similarity": (1.0, MultiSimilarity())})
    warnings_of_epoch(watch, loss, alike())
    again = Diagnostics(table(tmp_path, dict.fromkeys("abcdefgh", 4)), "map@r", epochs=10)
    again.load_state_dict(watch.state_dict())
    assert again.end_epoch({"epoch": 3, "loss": 1.0}, [], loss) == []


def rows(scores, losses=None, **more):
    losses = losses or [1.0 - 0.1 * place for place in range(len(scores))]
    return [
        {"epoch": place + 1, "loss": loss, "val_map@r": score, **more}
        for place, (score, loss) in enumerate(zip(scores, losses, strict=True))
    ]


@pytest.mark.parametrize(
    ("history", "warned"),
    [
        (rows([0.5, 0.6, 0.55, 0.5, 0.45]), True),
        (rows([0.5, 0.6, 0.55, 0.5]), False),  # two epochs are chance
        (rows([0.5, 0.6, 0.598, 0.597, 0.599]), False),  # hardly worse
        (rows([0.5, 0.6, 0.55, 0.5, 0.61]), False),  # better again
        (rows([0.5, 0.6, 0.55, 0.5, 0.45], [1.0, 0.2, 0.3, 0.4, 0.5]), False),  # training is worse, too
        (rows([math.nan, 0.6, 0.5, 0.4, 0.4]), True),
        (rows([math.nan] * 6), False),
        (rows([0.6, 0.5, 0.5], stage=1) + rows([0.5, 0.5], [0.2, 0.1], stage=2), False),
    ],
)
def test_validation_gets_worse_while_training_gets_better(watch, history, warned):
    loss = Terms({"multi_similarity": (1.0, MultiSimilarity())})
    watch.class_seen[:] = True
    said = watch.end_epoch(history[-1], history[:-1], loss)
    assert bool(said) == warned
    if warned:
        assert "since epoch 2 (0.6000, now" in said[0]
        assert "augment=strong" in said[0]


def test_without_the_metric_the_validation_loss_is_looked_at(watch):
    loss = Terms({"multi_similarity": (1.0, MultiSimilarity())})
    watch.class_seen[:] = True
    history = [
        {"epoch": n, "loss": 1 / n, "val_loss": value} for n, value in enumerate([1, 0.8, 0.9, 1, 1.1], 1)
    ]
    assert "val_loss has not been as good" in watch.end_epoch(history[-1], history[:-1], loss)[0]


def test_classes_that_were_never_sampled(tmp_path):
    sizes = {"a": 4, "b": 4, "=lone": 1, "d": 4}
    watch = Diagnostics(table(tmp_path, sizes), "map@r", epochs=10)
    loss = Terms({"contrastive": (1.0, Contrastive())})
    loss(torch.randn(4, 8), torch.tensor([1, 1, 2, -1]))  # sorted: =lone, a, b, d
    watch.update(loss)
    assert watch.end_epoch({"epoch": 1, "loss": 1.0}, [], loss) == []
    assert watch.end_epoch({"epoch": 2, "loss": 1.0}, [], loss) == []
    (text,) = watch.end_epoch({"epoch": 3, "loss": 1.0}, [], loss)
    assert text.startswith("2 of 4 classes were never sampled in 3 epochs, such as '=lone', 'd'; 1 of them")
    assert "sampler.lonely=true" in text
    short = Diagnostics(table(tmp_path, sizes), "map@r", epochs=1)
    short.update(loss)
    assert "2 of 4" in short.end_epoch({"epoch": 1, "loss": 1.0}, [], loss)[0]
