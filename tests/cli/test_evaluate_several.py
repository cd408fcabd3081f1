"""evaluate with several models of one dataset, and with the models of all epochs of a run."""

import json
import shutil

import polars as pl
import pytest
import torch
import yaml
from PIL import Image

from lookalike.cli.main import main
from lookalike.data.table import Table, write_table
from lookalike.data.transforms import Resize
from lookalike.model import backbones, heads, pooling
from lookalike.model.embedder import build
from lookalike.plots.over_models import over_models


@pytest.fixture(scope="module")
def models_folder(shapes_folder, tmp_path_factory):
    """data/mine, and a run of three epochs, the models of which are in runs/mine/epochs."""
    root = tmp_path_factory.mktemp("several")
    files = sorted(shapes_folder.rglob("*.png"))
    rows = {
        "path": [str(file.relative_to(shapes_folder)) for file in files],
        "label": [file.parent.name for file in files],
        "split": ["test"] * len(files),
    }
    write_table(Table(pl.DataFrame(rows), shapes_folder), root / "data" / "mine", {})
    for epoch in (1, 2, 10):
        torch.manual_seed(epoch)
        model = build(backbones.small_cnn([4, 4]), pooling.Native(), heads.Linear, 8, Resize(16)).eval()
        model.save(root / "runs" / "mine" / "epochs" / f"{epoch:03}")
    shutil.copytree(root / "runs/mine/epochs/010", root / "runs/mine/model")
    (root / "runs/mine/config.yaml").write_text(yaml.safe_dump({"dataset": "mine"}))
    return root


@pytest.fixture
def here(models_folder, tmp_path, monkeypatch):
    for name in ("data", "runs"):
        (tmp_path / name).symlink_to(models_folder / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words):
    return main(["evaluate", *words, "progress=false", "coarse_far=true"])


def test_every_epoch_of_a_run_is_a_line_of_the_table_and_a_point_of_the_plot(here, capsys):
    assert run("run=runs/mine", "out=eval") == 0
    said = capsys.readouterr().out
    assert said.splitlines()[-1] == "eval"
    assert "chosen on these very images" in said
    table = pl.read_csv("eval/table.csv", schema_overrides={"name": pl.String})
    assert table["name"].to_list() == ["001", "002", "010"]
    assert Image.open(here / "eval" / "models.png").width > 500
    assert run("model=runs/mine/epochs/002", "dataset=mine", "out=alone") == 0
    alone = json.loads((here / "alone" / "metrics.json").read_text())
    assert json.loads((here / "eval" / "002" / "metrics.json").read_text()) == alone
    assert table["map@r"][1] == alone["map@r"]["value"]
    assert yaml.safe_load((here / "eval/002/config.yaml").read_text())["model"] == "runs/mine/epochs/002"


def test_several_models_are_named_by_their_folders(here):
    assert run("model=[runs/mine/model,runs/mine/epochs/001]", "dataset=mine", "out=eval") == 0
    assert pl.read_csv("eval/table.csv")["name"].to_list() == ["model", "001"]
    assert (here / "eval" / "models.png").is_file()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run=runs"], "has no epochs/ with models; training writes it with keep_epochs=all"),
        (["run=runs/mine", "model=runs/mine/model"], "do not go with it"),
        (["model=[runs/mine/model,runs/mine/model]", "dataset=mine"], "is given twice"),
        (["model=[runs/mine/model]", "dataset=mine", "each=true"], "neither each=true nor embeddings="),
        (["model=[]", "dataset=mine"], "takes a list"),
        (["each=true", "dataset=mine", "model=runs/mine/model"], "takes a list"),
    ],
)
def test_keys_that_do_not_go_together_are_refused(here, capsys, words, said):
    assert run(*words, "out=x") == 2
    assert said in capsys.readouterr().err
    assert not (here / "x").exists()


def test_the_plot_has_a_panel_for_each_kind_of_metric():
    def values(recall):
        share = {"value": recall, "low": recall - 0.1, "high": recall + 0.1}
        return {
            "recall@1": share, "recall@5": {"value": 0.9}, "precision@1": share,
            "eer": {"value": 1 - recall, "low": 0.0, "high": 1.0}, "threshold@far=0.1": {"value": 0.5},
            "before_map": {"value": 0.1},
        }  # fmt: skip

    epochs = over_models({f"{epoch:02}": values(score) for epoch, score in enumerate((0.2, 0.5, 0.4), 1)})
    assert [axes.get_title("left") or axes.get_title() for axes in epochs.axes if axes.axison] == [
        "recall@1",
        "eer, lower is better",
    ]
    for axes in epochs.axes[:2]:
        assert axes.lines[-1].get_xdata() == [2]  # the ring is on the best epoch
    assert over_models({"a": values(0.3), "b": values(0.2)}).axes[0].get_xticklabels()[0].get_text() == "a"
