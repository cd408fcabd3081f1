"""Every trained parameter is stepped once, at the rate of its part, its layer or its pattern."""

from functools import partial
from types import SimpleNamespace

import pytest
import timm
import timm.optim
import torch
from torch import nn

from lookalike.config import build, compose
from lookalike.data.transforms import Resize
from lookalike.errors import ConfigError
from lookalike.losses import ArcFace, Contrastive
from lookalike.losses.modifiers import Terms
from lookalike.model import embedder
from lookalike.model.backbones import Backbone, Timm, small_cnn
from lookalike.model.heads import Linear
from lookalike.model.pooling import GeM
from lookalike.training.parameters import check_optimizer, freeze, layer_factors, parameter_groups
from lookalike.training.stage import rates_by_name

RATES = {"lr": 0.1, "backbone_lr": 0.01, "loss_lr": 1.0, "layer_decay": 1.0, "rates": {}}


def parts(**changes) -> tuple[embedder.EmbeddingModel, Terms, SimpleNamespace]:
    model = embedder.build(small_cnn([2, 3]), GeM(), Linear, 4, Resize(28))
    loss = Terms({"arcface": (1.0, ArcFace(3, 4)), "pairs": (1.0, Contrastive())})
    return model, loss, SimpleNamespace(**RATES | changes)


def rates(model, loss, plan) -> dict[str, float]:
    """Name to rate, and a check that every trained parameter is there once."""
    groups = parameter_groups(model, loss, plan)
    by_id = {id(p): group["lr"] for group in groups for p in group["params"]}
    names = {**dict(model.named_parameters()), **{f"loss.{n}": p for n, p in loss.named_parameters()}}
    trained = {name: p for name, p in names.items() if p.requires_grad}
    assert sum(len(group["params"]) for group in groups) == len(by_id) == len(trained)
    return {name: by_id[id(p)] for name, p in trained.items()}


def test_each_part_has_its_rate_and_vectors_have_no_decay():
    model, loss, plan = parts()
    found = rates(model, loss, plan)
    assert {name.split(".")[0]: rate for name, rate in found.items()} == {
        "backbone": 0.01,
        "pool": 0.1,
        "head": 0.1,
        "loss": 1.0,
    }
    for group in parameter_groups(model, loss, plan):
        for parameter in group["params"]:
            matrix = parameter.ndim > 1 and group["name"] != "loss"
            assert ("weight_decay" in group) != matrix


def test_rates_fall_from_the_head_down():
    found = rates(*parts(layer_decay=0.5))
    layers = {name: rate for name, rate in found.items() if name.startswith("backbone")}
    assert {name.split(".")[2]: rate for name, rate in layers.items()} == {"0": 0.005, "1": 0.01}
    assert found["head.layer.weight"] == 0.1


def test_a_frozen_layer_does_not_change_the_others():
    model, loss, plan = parts(layer_decay=0.5)
    freeze(model, ["backbone.body.1"])
    found = rates(model, loss, plan)
    assert {rate for name, rate in found.items() if name.startswith("backbone")} == {0.005}


@pytest.mark.parametrize(
    ("name", "depths"),
    [
        ("vit_tiny_patch16_224", {"norm.weight": 0, "blocks.11.attn": 0, "blocks.0": 11, "patch_embed": 12}),
        ("resnet18", {"layer4.1": 0, "layer4.0": 1, "layer1.0": 7, "conv1": 8, "bn1": 8}),
        ("tf_efficientnet_lite0", {"conv_head": 0, "blocks.6.0": 0, "blocks.5.3": 1, "conv_stem": 16}),
    ],
)
def test_layers_of_timm_models_are_those_of_timm(name, depths):
    backbone = Timm(timm.create_model(name, pretrained=False, num_classes=0), {})
    factors = layer_factors(backbone, 0.5)
    assert factors.keys() == dict(backbone.named_parameters()).keys()
    for start, depth in depths.items():
        found = {factor for name, factor in factors.items() if name.startswith(f"net.{start}")}
        assert found == {0.5**depth}, start


def test_layers_of_other_backbones_are_their_numbered_modules():
    backbone = Backbone()
    backbone.stem = nn.Linear(1, 1)
    backbone.stage1 = nn.Sequential(nn.Linear(1, 1), nn.Sequential(nn.Linear(1, 1)))
    backbone.norm = nn.BatchNorm1d(1)
    factors = layer_factors(backbone, 0.1)
    found = {name.rpartition(".")[0]: round(factor, 9) for name, factor in factors.items()}
    assert found == {"stem": 0.01, "stage1.0": 0.1, "stage1.1.0": 0.1, "norm": 1.0}


def test_a_pattern_sets_a_rate_and_the_last_one_counts():
    given = {"backbone.*": 0.5, "backbone.body.0.1": 0.25, "loss.arcface": 2.0}
    found = rates(*parts(layer_decay=0.5, rates=given))
    assert found["backbone.body.0.0.weight"] == found["backbone.body.1.0.weight"] == 0.5
    assert found["backbone.body.0.1.weight"] == 0.25
    assert {rate for name, rate in found.items() if name.startswith("loss")} == {2.0}
    assert found["head.layer.bias"] == 0.1


def test_a_pattern_that_matches_nothing_lists_near_names():
    with pytest.raises(ConfigError, match=r"rates: 'backbone.boddy' matches no part .*backbone.body"):
        parameter_groups(*parts(rates={"backbone.boddy": 0.1}))


def test_columns_are_few_and_named():
    groups = parameter_groups(*parts(layer_decay=0.5, rates={"head": 0.3}))
    optimizer = torch.optim.SGD(groups)
    for group in optimizer.param_groups:
        group["lr"] *= 0.5
    expected = {"lr_backbone": 0.005, "lr_head": 0.15, "lr_loss": 0.5, "lr_backbone_lowest": 0.0025}
    pooled = {"lr_head_lowest": 0.05}  # the pooling keeps the rate of the head
    assert rates_by_name(optimizer) == pytest.approx({**expected, "lr_head": 0.15, **pooled})


@pytest.mark.parametrize("name", ["adam", "adamw", "radam", "sgd", "lion", "sophia_g"])
def test_every_optimiser_of_ours_steps_row_by_row(name):
    node = compose("train", ["dataset=a", "out=b", f"optimizer={name}"])["optimizer"]
    check_optimizer(build(node, "optimizer"), sparse=True)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (timm.optim.Lamb, "class_sample"),
        (timm.optim.Adafactor, "class_sample"),
        (lambda groups: timm.optim.Lion(groups, caution=True), "class_sample"),
        (lambda groups: torch.optim.LBFGS(groups[0]["params"]), "cannot step on gradients alone"),
    ],
)
def test_an_optimiser_that_looks_at_whole_matrices_is_refused(make, words):
    if words == "class_sample":
        check_optimizer(make, sparse=False)
    with pytest.raises(ConfigError, match=words):
        check_optimizer(make, sparse=True)


FLAGS = [
    {},
    {"fused": True},
    {"foreach": True},
    {"capturable": True},
    {"maximize": True},
    {"differentiable": True},
]
KINDS = [
    name
    for name, each in vars(torch.optim).items()
    if isinstance(each, type) and issubclass(each, torch.optim.Optimizer) and name != "Optimizer"
]


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("flags", [*FLAGS, {"fused": True, "foreach": True}], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_every_optimiser_of_torch_works_or_is_refused_in_one_line(kind, flags, sparse):
    try:
        check_optimizer(partial(getattr(torch.optim, kind), **flags), sparse)
    except ConfigError as error:
        assert "\n" not in str(error)
        assert str(error).startswith(("optimizer: ", "class_sample: "))


@pytest.mark.parametrize("kind", ["SGD", "Adam", "AdamW", "Adagrad"])
@pytest.mark.parametrize("flag", ["fused", "foreach"])
def test_fused_and_foreach_optimisers_are_taken(kind, flag):
    check_optimizer(partial(getattr(torch.optim, kind), **{flag: True}), sparse=False)


def test_an_optimiser_that_fails_elsewhere_is_refused():
    class EightBit(torch.optim.SGD):
        def step(self, closure=None):
            raise NotImplementedError("no kernel for the CPU\ninstall another build")

    with pytest.raises(ConfigError, match=r"^optimizer: fails at its first step on cpu: no kernel"):
        check_optimizer(EightBit, sparse=False)
