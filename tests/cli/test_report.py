import polars as pl
import pytest

from lookalike.cli import evaluate, report
from lookalike.cli.main import main
from lookalike.config import load
from lookalike.data.table import Table, write_table
from lookalike.errors import LookalikeError


@pytest.fixture
def small_run(tmp_path, shapes):
    """A dataset and a run folder that holds an untrained model."""
    from lookalike.data.transforms import Resize
    from lookalike.model import backbones, embedder, heads, pooling

    shapes(tmp_path / "photos", classes=4, per_class=3, size=24)
    files = sorted((tmp_path / "photos").rglob("*.png"))
    frame = pl.DataFrame(
        {
            "path": [str(file.relative_to(tmp_path / "photos")) for file in files],
            "label": [file.parent.name for file in files],
            "split": ["train" if "red" in file.parent.name else "test" for file in files],
        }
    )
    write_table(Table(frame, tmp_path / "photos"), tmp_path / "data", {"job": "test"})
    backbone = backbones.small_cnn()
    model = embedder.build(backbone, pooling.Average(), heads.Linear, 8, Resize(16))
    (tmp_path / "run").mkdir()
    model.save(tmp_path / "run" / "model")
    (tmp_path / "run" / "config.yaml").write_text(f"dataset: {tmp_path / 'data'}\nepochs: 0\n")
    return tmp_path / "run"


def test_a_run_is_evaluated_on_its_test_split_and_shown(small_run, capsys):
    assert main(["report", f"run={small_run}", "map_images=0", "progress=false"]) == 0
    assert capsys.readouterr().out.strip().splitlines()[-1] == str(small_run / "report.html")
    page = (small_run / "report.html").read_text(encoding="utf-8")
    assert "9 images of 3 classes" in page
    assert "ROC curve with 95 % band: area" in page
    assert "over 9 same and 27 different pairs" in page
    assert (small_run / "evaluation" / "metrics.json").is_file()


def test_an_evaluation_that_is_there_is_not_made_again(small_run, monkeypatch):
    main(["report", f"run={small_run}", "map_images=0", "progress=false"])
    monkeypatch.setattr(evaluate, "main", lambda config: pytest.fail("evaluated again"))
    assert main(["report", f"run={small_run}", "map_images=0"]) == 0


def test_an_evaluation_alone_goes_where_it_is_told(small_run, tmp_path):
    main(["report", f"run={small_run}", "map_images=0", "progress=false"])
    out = tmp_path / "elsewhere.html"
    assert main(["report", f"evaluation={small_run / 'evaluation'}", f"out={out}", "map_images=0"]) == 0
    assert out.is_file()


def test_nothing_to_show_is_a_mistake_on_the_command_line(capsys, tmp_path):
    assert main(["report"]) == 2
    assert "run=" in capsys.readouterr().err
    assert main(["report", f"run={tmp_path / 'none'}"]) == 1
    assert "no such folder" in capsys.readouterr().err


def test_a_dataset_without_unseen_images_says_what_to_give(small_run, tmp_path):
    frame = pl.read_parquet(tmp_path / "data" / "table.parquet").with_columns(split=pl.lit("train"))
    frame.write_parquet(tmp_path / "data" / "table.parquet")
    with pytest.raises(LookalikeError, match="give evaluation="):
        report.main(load("report", report.Config, run=str(small_run)))


def test_a_photo_is_never_replaced_by_a_page(small_run, tmp_path):
    photo = tmp_path / "cat.png"
    photo.write_bytes(b"precious")
    for out in (photo, tmp_path):
        assert main(["report", f"run={small_run}", f"out={out}"]) == 2
    assert photo.read_bytes() == b"precious"
