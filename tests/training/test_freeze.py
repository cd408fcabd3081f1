"""Frozen parts do not learn and do not drift; patterns that match nothing are refused."""

import pytest
import torch
from torch import nn

from lookalike.errors import ConfigError
from lookalike.training.freeze import freeze, train_mode


def net() -> nn.ModuleDict:
    body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    return nn.ModuleDict({"body": body, "head": nn.Linear(4, 2)})


def trained(model: nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize("pattern", ["body", "body.*", "b*y.*"])
def test_a_pattern_freezes_a_module_whole(pattern):
    model = net()
    freeze(model, [pattern])
    assert trained(model) == {"head.weight", "head.bias"}


def test_unfreeze_makes_exceptions():
    model = net()
    freeze(model, ["*"], ["head", "body.1.*"])
    assert trained(model) == {"head.weight", "head.bias", "body.1.weight", "body.1.bias"}


def test_a_pattern_without_match_names_the_nearest():
    with pytest.raises(ConfigError, match=r"'boddy' matches no part .* body"):
        freeze(net(), ["boddy"])


def test_frozen_batch_norm_keeps_its_statistics_in_training():
    model = net()
    freeze(model, ["body"])
    train_mode(model)
    before = model["body"][1].running_mean.clone()
    model["body"](torch.randn(8, 3, 6, 6) + 5)
    torch.testing.assert_close(model["body"][1].running_mean, before, rtol=0, atol=0)
    assert model["head"].training
