"""Frozen parts do not learn and do not drift; patterns that match nothing are refused."""

import pytest
import torch
from torch import nn

from lookalike.errors import ConfigError
from lookalike.training.parameters import freeze, train_mode

HEAD = {"head.0.weight", "head.0.bias", "head.1.weight", "head.1.bias"}


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.head = nn.Sequential(nn.Linear(4, 2), nn.BatchNorm1d(2))


def net() -> Net:
    return Net()


def trainable_names(model: nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize("pattern", ["backbone", "backbone.*", "b*e.*"])
def test_a_pattern_freezes_a_module_whole(pattern):
    model = net()
    freeze(model, [pattern])
    assert trainable_names(model) == HEAD


def test_unfreeze_makes_exceptions():
    model = net()
    freeze(model, ["*"], ["head", "backbone.1.*"])
    assert trainable_names(model) == HEAD | {"backbone.1.weight", "backbone.1.bias"}


def test_a_pattern_without_match_names_the_nearest():
    with pytest.raises(ConfigError, match=r"'bakbone' matches no part .* backbone"):
        freeze(net(), ["bakbone"])


def test_frozen_batch_norm_keeps_its_statistics_in_training():
    model = net()
    freeze(model, ["backbone"])
    train_mode(model)
    before = model.backbone[1].running_mean.clone()
    model.backbone(torch.randn(8, 3, 6, 6) + 5)
    torch.testing.assert_close(model.backbone[1].running_mean, before, rtol=0, atol=0)
    assert model.head.training


def test_kept_statistics_stay_while_scales_learn():
    model = net()
    train_mode(model, keep_statistics=True)
    before = model.backbone[1].running_mean.clone()
    model.backbone(torch.randn(8, 3, 6, 6) + 5).sum().backward()
    torch.testing.assert_close(model.backbone[1].running_mean, before, rtol=0, atol=0)
    assert model.backbone[1].weight.grad.abs().sum() > 0
    assert model.head[1].training
