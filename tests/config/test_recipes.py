"""Recipes: every one composes, also with other choices, and is listed where users look."""

import os
import subprocess
import sys

import pytest
from torch import nn

from lookalike.cli.main import main
from lookalike.cli.train import Config, stage_configs
from lookalike.config import catalogue, load
from lookalike.errors import ConfigError, LookalikeError
from lookalike.model import backbones, hub
from lookalike.training.parameters import freeze

RECIPES = sorted(catalogue.choices("experiment"))
COMMAND = ["dataset=a", "out=b"]
OTHER_CHOICES = [
    *("optimizer=sgd", "scheduler=cosine", "augment=crop"),
    *("head=batch_norm", "pooling=gem", "loss=[arcface]"),
]


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("backbone", ["efficientnet_lite0", "small_cnn", "timm"])
def test_every_recipe_goes_with_every_backbone(name, backbone):
    config = load("train", Config, [*COMMAND, f"experiment={name}", f"backbone={backbone}"])
    assert config.backbone["_target_"].endswith(backbone)
    assert stage_configs(config)


def test_a_recipe_may_be_added_as_hydra_wants_it():
    with_plus, without = (
        load("train", Config, [*COMMAND, f"{plus}experiment={RECIPES[0]}", "backbone=timm"])
        for plus in ("+", "")
    )
    assert with_plus == without


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_goes_with_other_choices(name):
    config = load("train", Config, [*COMMAND, f"experiment={name}", *OTHER_CHOICES, "stages=[]"])
    assert stage_configs(config) == [config]


@pytest.mark.parametrize("choice", OTHER_CHOICES)
def test_a_recipe_goes_with_one_other_choice(choice):
    config = load("train", Config, [*COMMAND, "experiment=nekonet_1", choice, "stages=[]"])
    assert stage_configs(config) == [config]


def test_what_a_replaced_choice_leaves_out_is_said(caplog):
    caplog.set_level("INFO", "lookalike")
    load("train", Config, [*COMMAND, "experiment=nekonet_1", "backbone=efficientnet_lite0"])
    assert (
        "experiment=nekonet_1: ignored backbone.name, because you chose backbone=efficientnet_lite0"
        in caplog.text
    )
    caplog.clear()
    config = load("train", Config, [*COMMAND, "experiment=nekonet_1", "backbone=timm", "loss=[triplet,gor]"])
    assert config.backbone["name"] == "mobilenetv3_large_100"
    assert config.loss["triplet"]["distance"] == "squared"
    assert not caplog.text


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_the_second_stage_of_nekonet_trains_the_last_blocks_and_what_follows_them(number):
    config = load("train", Config, [*COMMAND, f"experiment=nekonet_{number}"])
    second = stage_configs(config)[1]
    model = backbones.timm(config.backbone["name"], pretrained=False)
    wrapped = nn.ModuleDict({"backbone": model})
    freeze(wrapped, second.freeze, second.unfreeze)
    trained = {name.split(".")[2] for name, each in wrapped.named_parameters() if each.requires_grad}
    later = {"bn2"} if number == 4 else set()
    assert trained == {"blocks", "conv_head", *later}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["evaluate", "experiment=nekonet_1", "out=x"], "recipes are for `lookalike train`"),
        (["train", *COMMAND, "experiment=nekonet"], "Did you mean nekonet_"),
        (["train", *COMMAND, "experiment=[nekonet_1,nekonet_2]"], "takes one recipe"),
        (["recipes", "nonsense"], "no such experiment"),
    ],
)
def test_wrong_recipes_are_refused(words, said, capsys):
    assert main(words) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("words", [["recipes"], ["train", "--help"]])
def test_recipes_are_listed_with_what_they_are_for(words, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    assert main(words) == 0
    out = " ".join(capsys.readouterr().out.split())
    for name in RECIPES:
        summary = catalogue.summary(catalogue.choices("experiment")[name])
        assert f"experiment={name} {summary}" in out


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_shown_in_full(name, capsys):
    assert main(["recipes", name]) == 0
    shown = capsys.readouterr().out
    assert f"lookalike train experiment={name} dataset=" in shown
    assert main(["train", f"experiment={name}", "--help"]) == 0
    assert capsys.readouterr().out == shown


def test_own_recipes_are_found(tmp_path):
    (tmp_path / "experiment").mkdir()
    text = "# @package _global_\n# mine\nepochs: 77\nloss:\n  multi_similarity:\n    weight: 2.0\n"
    (tmp_path / "experiment" / "mine.yaml").write_text(text, encoding="utf-8")
    assert load("train", Config, [*COMMAND, f"conf_dir={tmp_path}", "experiment=mine"]).epochs == 77


def test_a_hub_that_does_not_answer_is_reported_at_once():
    code = (
        "from lookalike.model.backbones import timm\n"
        "from huggingface_hub import constants, file_download\n"
        "try:\n    timm('test_resnet')\nexcept Exception as error:\n    print(error)\n"
        "print(constants.HF_HUB_OFFLINE)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=900,
        env={**os.environ, "HF_HUB_OFFLINE": "0", "HF_ENDPOINT": "http://127.0.0.1:9"},
    )
    message, offline = done.stdout.splitlines()
    assert message == hub.missing_weights("test_resnet").replace("huggingface.co", "127.0.0.1:9").replace(
        "HF_HUB_OFFLINE is set", "no connection"
    )
    assert offline == "False"
    assert "etry" not in done.stderr


def test_weights_that_cannot_be_loaded_are_no_connection_problem(monkeypatch):
    import timm as library

    def fail_to_load(*arguments, **named):
        raise RuntimeError("size mismatch for conv_stem.weight")

    monkeypatch.setattr(library, "create_model", fail_to_load)
    with pytest.raises(LookalikeError, match=r"backbone\.name=test_resnet: .*size mismatch"):
        backbones.timm("test_resnet")


def test_a_recipe_is_no_key_to_delete():
    with pytest.raises(ConfigError):
        load("train", Config, [*COMMAND, "~experiment"])
