"""Parts of the user's own, named by `_target_`: what cannot work is refused before training."""

import sys
import types

import numpy as np
import polars as pl
import pytest
import torch

from lookalike.cli.main import main
from lookalike.data.transforms import Resize
from lookalike.model.backbones import SmallCNN
from lookalike.model.embedder import load

SIZE = 16


def whole(image):
    return Resize(SIZE)(image)


class Unknown(SmallCNN):
    """Its spec is of a kind that nobody knows."""

    def __init__(self):
        super().__init__((2, 2))
        self.spec = {"kind": "mine"}


class More(SmallCNN):
    """Its spec says nothing of one of its layers."""

    def __init__(self):
        super().__init__((2, 2))
        self.more = torch.nn.Linear(1, 1)


TRANSFORMS = {
    "channels_last": lambda image: whole(image).permute(1, 2, 0),
    "floats": lambda image: whole(image) / 255,
    "grey": lambda image: whole(image)[:1],
    "array": lambda image: np.array(image),
    "by_shorter_side": lambda image: torch.zeros((3, *image.size), dtype=torch.uint8),
}


@pytest.fixture
def words(tmp_path, shapes_folder, monkeypatch):
    files = sorted(shapes_folder.glob("*/[0123].png"))
    rows = {"path": [str(file) for file in files], "label": [file.parent.name for file in files]}
    pl.DataFrame(rows).with_columns(split=pl.lit("train")).write_csv(tmp_path / "table.csv")
    module = types.ModuleType("own_parts")
    for name, thing in {**TRANSFORMS, "whole": whole, "Unknown": Unknown, "More": More}.items():
        setattr(module, name, thing)
    monkeypatch.setitem(sys.modules, "own_parts", module)
    keys = f"epochs=1 image_size={SIZE} progress=false backbone=small_cnn"
    return ["train", f"dataset={tmp_path / 'table.csv'}", f"out={tmp_path / 'run'}", *keys.split()]


@pytest.mark.parametrize("name", TRANSFORMS)
def test_a_transform_that_makes_something_else_is_refused(name, words, tmp_path, capsys):
    assert main([*words, f"augment={{_target_: own_parts.{name}, _partial_: true}}"]) == 2
    assert "augment: gives" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["Unknown", "More"])
def test_a_backbone_that_could_not_be_loaded_again_is_refused(name, words, tmp_path, capsys):
    assert main([*words, f"backbone={{_target_: own_parts.{name}}}"]) == 2
    assert "could not be loaded again" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_parts_of_ones_own_take_the_place_of_a_choice(words, tmp_path, capsys):
    own = ["augment={_target_: own_parts.whole, _partial_: true}", "optimizer={_target_: torch.optim.Rprop}"]
    assert main([*words, *own]) == 0, capsys.readouterr().err
    assert load(tmp_path / "run").embed([np.zeros((8, 8, 3), np.uint8)]).shape == (1, 256)
