"""`lookalike verify`, as a user runs it."""

import json

import pytest
import torch

from lookalike.cli.main import main
from lookalike.data.transforms import Resize
from lookalike.evaluation.operating_point import OperatingPoint, write_point
from lookalike.model import backbones, heads, pooling
from lookalike.model.embedder import build, load


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("verify") / "model"
    build(backbones.small_cnn([4, 4]), pooling.Native(), heads.Linear, 8, Resize(16)).eval().save(folder)
    return folder


@pytest.fixture
def photos(shapes_folder):
    return [str(shapes_folder / name / "0.png") for name in ("red triangle", "green square")]


def with_interval(folder, low, high):
    space = load(folder).space
    write_point(
        OperatingPoint(0.01, 0.01, (low + high) / 2, low, high, 0.9, 0.8, 0.95, 1e-4, 50, 10, space), folder
    )


def test_the_three_answers_and_their_exit_codes(model, photos, capsys):
    for low, high, code, answer in (
        (-1, -0.9, 0, "same"),
        (0.999999, 1.1, 3, "different"),
        (-1, 1.1, 4, "cannot tell"),
    ):
        with_interval(model, low, high)
        assert main(["verify", *photos, f"model={model}"]) == code
        said = capsys.readouterr().out
        assert said.startswith(f"{answer}: similarity ")
        assert "false accept rate 0.01" in said


def test_a_photo_is_the_same_as_itself_and_json_says_all(model, photos, capsys):
    with_interval(model, 0.8, 0.9)
    assert main(["verify", photos[0], photos[0], f"model={model}", "format=json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["answer"] == "same"
    assert said["similarity"] == pytest.approx(1)
    assert said["cannot_tell_between"] == [0.8, 0.9]
    assert said["images"] == [photos[0]] * 2
    one, other = load(model).embed(photos)
    main(["verify", *photos, f"model={model}", "format=json"])
    assert json.loads(capsys.readouterr().out)["similarity"] == pytest.approx(float(one @ other), abs=1e-5)


def test_a_threshold_of_ones_own(model, photos, capsys):
    assert main(["verify", *photos, f"model={model}", "threshold=-1"]) == 0
    assert main(["verify", *photos, f"model={model}", "threshold=1.0"]) == 3
    assert "cannot tell" not in capsys.readouterr().out


def test_what_cannot_be_verified_is_said(model, photos, tmp_path, capsys):
    (model / "operating_point.json").unlink(missing_ok=True)
    for words, code, said in (
        ([*photos, f"model={model}"], 1, "has no operating_point.json"),
        ([photos[0], f"model={model}"], 2, "verify compares two photos, and 1 was given"),
        ([*photos, photos[0], f"model={model}"], 2, "verify compares two photos, and 3 were given"),
        ([photos[0], str(tmp_path / "nowhere.png"), f"model={model}", "threshold=0.5"], 1, "nowhere.png"),
        ([*photos, f"model={tmp_path}", "threshold=0.5"], 1, "not a model folder"),
        ([*photos, f"model={model}", "threshold=2"], 2, "threshold=2"),
    ):
        assert main(["verify", *words]) == code
        assert said in capsys.readouterr().err
