"""What the train job makes of loss nodes: memories, lengths, class counts."""

from contextlib import nullcontext
from pathlib import Path

import polars as pl
import pytest
import torch

from lookalike.cli._train_settings import stage_settings, train_settings
from lookalike.cli.train import Config
from lookalike.config import load
from lookalike.data.table import Table
from lookalike.errors import ConfigError
from lookalike.losses import CrossBatchMemory, Matryoshka
from lookalike.losses.sampled import SampledClasses
from lookalike.training.losses import build_losses, check_heads, class_counts, share_classes


@pytest.fixture
def table() -> Table:
    labels = ["b", "a", "b", "c", "b", "a"]
    frame = pl.DataFrame({"path": [f"{n}.png" for n in range(6)], "label": labels, "split": ["train"] * 6})
    return Table(frame, Path())


def losses(table, loss, **keys):
    config = load("train", Config, [f"loss={loss}"], dataset="d", out="o", **keys)
    return build_losses(stage_settings(config), table, 8)


def test_class_counts_follow_the_class_ids(table):
    assert class_counts(table) == [2, 3, 1]


def test_a_memory_goes_around_the_losses_that_can_use_one(table):
    found = losses(table, "[multi_similarity,arcface]", memory=32, memory_warm_up=3).losses
    assert isinstance(found["multi_similarity"], CrossBatchMemory)
    assert (found["multi_similarity"].size, found["multi_similarity"].warm_up) == (32, 3)
    assert not isinstance(found["arcface"], CrossBatchMemory)
    with pytest.raises(ConfigError, match="memory=32: none of arcface compares images with images"):
        losses(table, "arcface", memory=32)


def test_each_length_has_its_own_proxies_and_memory(table):
    found = losses(table, "[contrastive,proxy_anchor]", matryoshka=[2, 4], memory=16)
    assert all(isinstance(loss, Matryoshka) for loss in found.losses.values())
    assert {p.shape for p in found.parameters()} == {(3, 2), (3, 4), (3, 8)}
    assert [m.vectors.shape[1] for m in found.modules() if isinstance(m, CrossBatchMemory)] == [2, 4, 8]
    value = found(torch.randn(6, 8, requires_grad=True), torch.tensor([1, 0, 1, 2, 1, 0]))
    value.backward()
    assert value.isfinite()
    with pytest.raises(ConfigError, match=r"matryoshka=\[2, 16\]: embeddings have dimension dim=8"):
        losses(table, "contrastive", matryoshka=[2, 16])


def test_sampled_classes_go_around_margin_heads_only(table):
    config = load("train", Config, ["loss=[contrastive,arcface]"], dataset="d", out="o", class_sample=0.5)
    loss = build_losses(stage_settings(config), table, 8)
    share_classes(loss, stage_settings(config), train_settings(config), processes=1)
    assert isinstance(loss.losses["arcface"], SampledClasses) and loss.losses["arcface"].sample.rate == 0.5
    config = load("train", Config, ["loss=contrastive"], dataset="d", out="o", class_sample=0.5)
    with pytest.raises(ConfigError, match=r"class_sample=0.5: none of contrastive is a margin head"):
        share_classes(
            build_losses(stage_settings(config), table, 8),
            *(stage_settings(config), train_settings(config), 1),
        )
    config = load("train", Config, ["loss=arcface"], dataset="d", out="o", shard_classes=True)
    with pytest.raises(ConfigError, match="there is one process"):
        share_classes(
            build_losses(stage_settings(config), table, 8),
            *(stage_settings(config), train_settings(config), 1),
        )


@pytest.mark.parametrize("word", ["lr=inf", "lr=nan", "loss.multi_similarity.base=nan"])
def test_a_number_that_is_not_finite_is_refused(word):
    with pytest.raises(ConfigError, match=r"finite number|lr=nan: must be more than 0"):
        load("train", Config, [word], dataset="d", out="o")


@pytest.mark.parametrize(
    ("words", "refused"),
    [
        (["loss=triplet", "class_sample=0.5"], True),
        (["loss=[triplet,arcface]", "class_sample=0.5"], False),
        (["loss=arcface", "distill_only=true", "class_sample=0.5"], True),
        (["loss=[]", "+loss.mine._target_=torch.nn.Identity", "class_sample=0.5"], False),
        (["loss=triplet"], False),
    ],
)
def test_classes_that_no_loss_can_divide_are_refused_before_anything_is_read(words, refused):
    config = load("train", Config, words, dataset="d", out="o")
    with pytest.raises(ConfigError, match="margin head") if refused else nullcontext():
        check_heads(stage_settings(config), train_settings(config))
