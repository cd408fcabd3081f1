"""`lookalike.prepare(…)` from Python: the same datasets, and the same errors, as from the command line."""

import inspect

import polars as pl
import pytest
import yaml
from PIL import Image

import lookalike
from lookalike.cli.main import main
from lookalike.detect.cropping import Boxes
from lookalike.errors import ConfigError, DataError, LookalikeError


@pytest.fixture
def photos(tmp_path, shapes):
    return shapes(tmp_path / "photos", classes=4, per_class=3, size=32)


def columns_of(folder):
    files = sorted(folder.glob("*/*.png"))
    return {"path": [str(file) for file in files], "label": [file.parent.name for file in files]}


def test_a_folder_gives_what_the_command_gives(photos, tmp_path):
    table = lookalike.prepare(photos, tmp_path / "a", split="images", val=0.2, test=0.3)
    words = [f"source.root={photos}", "split=images", "val=0.2", "test=0.3", "workers=0", "progress=false"]
    assert main(["prepare", *words, f"out={tmp_path / 'b'}"]) == 0
    assert table.frame.equals(lookalike.read_table(tmp_path / "b").frame)
    configs = [yaml.safe_load((tmp_path / name / "config.yaml").read_text()) for name in "ab"]
    assert configs[0] | {"out": 0} == configs[1] | {"out": 0}
    assert lookalike.check_table(table) == []


@pytest.mark.parametrize("kind", ["dict", "polars", "pandas", "Table", "csv", "parquet"])
def test_tables_in_memory_and_in_files(photos, tmp_path, kind):
    columns = {"Photo": columns_of(photos)["path"], "cat": columns_of(photos)["label"]}
    frame = pl.DataFrame(columns)
    if kind == "pandas":
        source = pytest.importorskip("pandas").DataFrame(columns)
    elif kind in ("csv", "parquet"):
        source = tmp_path / f"t.{kind}"
        frame.write_csv(source) if kind == "csv" else frame.write_parquet(source)
    else:
        source = {"dict": columns, "polars": frame, "Table": lookalike.Table(frame)}[kind]
    with pytest.raises(DataError, match=r"columns=\{label: cat\}"):
        lookalike.prepare(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    table = lookalike.prepare(source, tmp_path / "out", columns={"label": "cat"})
    assert sorted(table.frame["label"]) == sorted(columns["cat"])
    assert lookalike.check_table(lookalike.read_table(tmp_path / "out")) == []


def test_objects_in_place_of_names(photos, tmp_path):
    columns = columns_of(photos)
    for name, value in zip(("x1", "y1", "x2", "y2"), (2, 2, 30, 28), strict=True):
        columns[name] = [value] * len(columns["path"])

    def last_class_tests(table):
        last = max(table.frame["label"])
        split = pl.when(pl.col("label") == last).then(pl.lit("test")).otherwise(pl.lit("train"))
        return lookalike.Table(table.frame.with_columns(split=split), table.folder)

    table = lookalike.prepare(columns, tmp_path / "out", split=last_class_tests, detect=Boxes(size=40))
    assert table.frame.filter(split="test")["label"].unique().to_list() == [max(columns["label"])]
    assert Image.open(table.file(0)).size == (40, 40)
    assert "Boxes" in yaml.safe_load((tmp_path / "out" / "config.yaml").read_text())["detect"]


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"split": "imagess"}, ConfigError, "images"),
        ({"val": 0.7, "test": 0.7}, ConfigError, "add up to more than 1"),
        ({"columns": {"slit": "x"}}, LookalikeError, "columns"),
        ({"relative": 7}, ConfigError, "relative"),
        ({"options": {"nothing_like_it": 1}}, ConfigError, "nothing_like_it"),
    ],
)
def test_wrong_arguments(photos, tmp_path, arguments, error, said):
    with pytest.raises(error, match=said):
        lookalike.prepare(columns_of(photos), tmp_path / "out", **arguments)


def test_sources_that_are_not_there(tmp_path):
    with pytest.raises(LookalikeError, match="no such folder"):
        lookalike.prepare(tmp_path / "nowhere", tmp_path / "out")
    with pytest.raises(LookalikeError, match="cubb"):
        lookalike.prepare("cubb", tmp_path / "out")
    with pytest.raises(DataError, match="dict of columns"):
        lookalike.prepare(7, tmp_path / "out")


def test_check_table_lists_every_problem(tmp_path):
    table = lookalike.Table(
        pl.DataFrame({"path": ["a.png", "b.png"], "label": ["", "b"], "split": ["train", "x"]})
    )
    reasons = [str(problem) for problem in lookalike.check_table(table)]
    assert len(reasons) == 4 and any("must be train | val | test" in reason for reason in reasons)
    assert len(lookalike.check_table(table, files=False)) == 2


def test_the_signature_is_explicit():
    parameters = inspect.signature(lookalike.prepare).parameters
    assert list(parameters)[:2] == ["source", "out"]
    assert not any(one.kind in (one.VAR_KEYWORD, one.VAR_POSITIONAL) for one in parameters.values())
