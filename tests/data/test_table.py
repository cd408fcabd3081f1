import contextlib
import math
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lookalike.data.checking import check_frame
from lookalike.data.table import Table, class_ids, read_table, write_table
from lookalike.errors import DataError, LookalikeError, Problem
from lookalike.files import new_folder

names = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0/\\"), min_size=1, max_size=20
).filter(str.strip)
labels = st.one_of(
    st.lists(names, min_size=1, max_size=12),
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=12),
)


def frame_of(paths, labels="a", splits="train", **more):
    count = len(paths)
    columns = {"path": paths, "label": labels, "split": splits, **more}
    return pl.DataFrame({name: [v] * count if isinstance(v, str) else v for name, v in columns.items()})


def reasons(frame, **options):
    return [str(problem) for problem in check_frame(frame, Path(), "t.csv", files=False, **options)]


@pytest.fixture
def photos(tmp_path):
    """`photos(name, …)` makes files that exist; what is in them does not matter to a table."""

    def make(*names):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(b"x")
        return tmp_path

    return make


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(labels=labels, data=st.data())
@pytest.mark.parametrize("ending", ["parquet", "feather", "csv"])
def test_a_table_comes_back_as_it_was_written(ending, labels, data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("round")
    count = len(labels)
    paths = data.draw(st.lists(names, min_size=count, max_size=count, unique=True))
    splits = data.draw(st.lists(st.sampled_from(["train", "val", "test"]), min_size=count, max_size=count))
    frame = frame_of(paths, labels, splits)
    file = folder / f"table.{ending}"
    {"parquet": frame.write_parquet, "feather": frame.write_ipc, "csv": frame.write_csv}[ending](file)
    table = read_table(file, files=False)
    wanted = frame if ending != "csv" else frame.cast({"label": pl.String})
    assert table.frame.equals(wanted)
    assert table.labels.tolist() == wanted["label"].to_list()
    ids = class_ids(table.labels)
    assert sorted(ids.values()) == list(range(len(set(labels))))
    assert list(ids) == sorted(ids)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(labels=labels)
def test_a_dataset_folder_holds_the_same_rows(labels, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets")
    (folder / "raw").mkdir()
    paths = [f"{row}.jpg" for row in range(len(labels))]
    for path in paths:
        (folder / "raw" / path).touch()
    table = Table(frame_of(paths, labels), folder / "raw")
    write_table(table, folder / "deep" / "set", {"made": "here"})
    again = read_table(folder / "deep" / "set")
    assert again.frame.drop("path").equals(table.frame.drop("path"))
    assert [again.file(row).resolve() for row in range(len(again))] == [
        table.file(row).resolve() for row in range(len(table))
    ]


def test_labels_like_nan_are_names_and_said(photos, caplog):
    folder = photos("a.jpg", "b.jpg")
    (folder / "t.csv").write_text("path,label,split\na.jpg,x,train\nb.jpg,None,train\n")
    assert read_table(folder / "t.csv").labels.tolist() == ["x", "None"]
    assert "1 rows have a label that usually means a missing one, the first of them 'None' in row 1" in (
        caplog.text
    )
    caplog.clear()
    frame_of(["a.jpg"], ["None"]).write_parquet(folder / "t.parquet")
    assert read_table(folder / "t.parquet").labels.tolist() == ["None"]
    assert not caplog.text, "there an empty label is told from a name"


def test_labels_keep_their_type(photos):
    folder = photos("a.jpg", "b.jpg")
    (folder / "t.csv").write_text("path,label,split\na.jpg,007,train\nb.jpg,7,train\n")
    assert read_table(folder / "t.csv").labels.tolist() == ["007", "7"]
    big = [2**53, 2**53 + 1]
    for kind, dtype in ((pl.Int64, np.int64), (pl.UInt64, np.uint64)):
        frame_of(["a.jpg", "b.jpg"], big).cast({"label": kind}).write_parquet(folder / "t.parquet")
        read = read_table(folder / "t.parquet").labels
        assert read.dtype == dtype
        assert read.tolist() == big
    small = frame_of(["a.jpg", "b.jpg"], [1, 2]).cast({"label": pl.Int8})
    small.write_ipc(folder / "t.feather")
    assert read_table(folder / "t.feather").labels.dtype == np.int64
    frame_of(["a.jpg", "b.jpg"], ["x", "y"]).cast({"label": pl.Categorical}).write_parquet(
        folder / "c.parquet"
    )
    assert read_table(folder / "c.parquet").labels.tolist() == ["x", "y"]


def test_one_very_long_label_does_not_cost_memory_for_all():
    table = Table(frame_of([str(row) for row in range(2000)], ["x" * 100_000, *["short"] * 1999]), Path())
    assert table.labels.dtype == object
    assert list(class_ids(table.labels)) == ["short", "x" * 100_000]


@pytest.mark.parametrize(
    "text",
    [
        "path;label;split\na.jpg;é;train\n",
        "\ufeffpath,label,split\na.jpg,é,train\n",
        "path\tlabel\tsplit\na.jpg\té\ttrain",
    ],
    ids=["semicolons", "byte order mark", "tabs"],
)
def test_csv_dialects(photos, text):
    folder = photos("a.jpg")
    (folder / "t.csv").write_text(text, encoding="utf-8")
    assert read_table(folder / "t.csv").labels.tolist() == ["é"]


@pytest.mark.parametrize("ending", ["parquet", "feather", "csv"])
@pytest.mark.parametrize(
    "content", [b"", b"\x89PNG\r\n\x1a\n\0\0", b"PAR1....PAR1", b"ARROW1\0\0junk\xff\xfe"]
)
def test_a_file_that_is_no_table(tmp_path, ending, content):
    file = tmp_path / f"t.{ending}"
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"t\."):
        read_table(file)


@pytest.mark.parametrize("ending", ["parquet", "feather"])
def test_a_table_cut_short(tmp_path, ending):
    file = tmp_path / f"t.{ending}"
    frame = frame_of([f"{row}.jpg" for row in range(500)])
    (frame.write_parquet if ending == "parquet" else frame.write_ipc)(file)
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(DataError, match=f"not a readable {ending} table"):
        read_table(file)


def test_what_is_not_a_table_is_said(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_table(tmp_path / "none.csv")
    with pytest.raises(DataError, match=r"ends in \.parquet.*not '\.jpg'"):
        read_table(tmp_path / "photo.jpg")
    with pytest.raises(DataError, match=r"no table\.parquet.*source\.root="):
        read_table(tmp_path)
    (tmp_path / "t.csv").write_bytes("path,label,split\né.jpg,1,train\n".encode("latin-1"))
    with pytest.raises(DataError, match="UTF-8"):
        read_table(tmp_path / "t.csv")
    (tmp_path / "t.csv").write_text("path,label,label\na,b,c\n")
    with pytest.raises(DataError, match="'label' twice"):
        read_table(tmp_path / "t.csv")
    (tmp_path / "t.csv").write_text("image,class\na.jpg,1\n")
    with pytest.raises(
        DataError, match=r"prepare source=table(.|\n)*no column path; its columns are image, class"
    ):
        read_table(tmp_path / "t.csv")


def test_two_tables_in_a_folder_are_refused(photos):
    folder = photos("a.jpg")
    frame_of(["a.jpg"]).write_csv(folder / "table.csv")
    frame_of(["a.jpg"]).write_parquet(folder / "table.parquet")
    with pytest.raises(DataError, match=r"table\.parquet and table\.csv"):
        read_table(folder)


def test_every_problem_is_listed_with_its_row(photos):
    folder = photos("a.jpg", "b.jpg", "c.jpg")
    (folder / "d.jpg").mkdir()
    frame = frame_of(
        ["a.jpg", "b.jpg", None, "gone.jpg", "c.jpg", "a.jpg", "d.jpg", "b.jpg"],
        ["x", "y", "x", "x", " ", "x", "x", "z"],
        ["train", "test", "train", "dev", "train", "train", None, "test"],
    )
    found = [(problem.row, problem.reason) for problem in check_frame(frame, folder, "t.csv")]
    assert found == [
        (1, "b.jpg is listed under 2 labels, here 'y'"),
        (2, "path is empty"),
        (3, "split 'dev': must be train | val | test"),
        (3, "gone.jpg: there is no such file"),
        (4, "label is empty"),
        (5, "a.jpg is listed before, in row 0"),
        (6, "split is empty"),
        (6, "d.jpg: this is a folder"),
        (7, "b.jpg is listed under 2 labels, here 'z'"),
    ]
    frame.write_parquet(folder / "t.parquet")
    with pytest.raises(DataError, match="7 of 8 rows are invalid") as caught:
        read_table(folder / "t.parquet")
    assert [problem.row for problem in caught.value.problems] == sorted({row for row, _ in found})
    assert "row 3: split 'dev': must be train | val | test; also gone.jpg: there is no such file" in str(
        caught.value
    )


def test_a_thousand_problems_print_twenty(tmp_path):
    frame_of([f"{row}.jpg" for row in range(1000)]).write_csv(tmp_path / "t.csv")
    with pytest.raises(DataError, match="and 980 more") as caught:
        read_table(tmp_path / "t.csv")
    assert len(str(caught.value).splitlines()) == 22
    assert len(caught.value.problems) == 1000


def test_boxes():
    corners = {
        "x1": [0.0, None, 5.0, -1.0, 1.0, 0.0, 0.5],
        "y1": [0.0, None, 5.0, 0.0, None, 0.0, 0.5],
        "x2": [9.0, None, 5.0, 9.0, 9.0, math.nan, 9.5],
        "y2": [9.0, None, 9.0, 9.0, 9.0, 9.0, 9.5],
    }
    frame = frame_of([str(row) for row in range(7)], **corners)
    assert reasons(frame) == [
        "t.csv, row 2: box 5.0 5.0 5.0 9.0: must be x1 y1 x2 y2 with x1 < x2 and y1 < y2",
        "t.csv, row 3: box -1.0 0.0 9.0 9.0: starts left of or above the image",
        "t.csv, row 4: incomplete box: give x1, y1, x2 and y2, or none of them",
        "t.csv, row 5: a box needs finite numbers",
    ]
    table = Table(frame, Path())
    assert [table.box(row) for row in (0, 1, 6)] == [(0, 0, 9, 9), None, (0, 0, 10, 10)]
    assert Table(frame.drop(*corners), Path()).box(0) is None


def test_the_same_file_may_hold_several_boxes():
    boxes = {"x1": [0, 5], "y1": [0, 0], "x2": [5, 9], "y2": [9, 9]}
    assert not reasons(frame_of(["a", "a"], ["x", "y"], **boxes))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"label": pl.Series([0.5, 1.5])},
            "label must be text or integers of up to 64 bits, not Float64",
        ),
        ({"x1": pl.Series([1, 2])}, "has x1 of the box columns x1, y1, x2, y2; all four or none"),
        ({"role": pl.Series([1, 2])}, "role must be text, not Int64"),
        (
            {"role": pl.Series(["query", "judge"])},
            "role 'judge': must be query | gallery | both | distractor",
        ),
        ({"label": pl.Series(["a\0", "b"])}, "label contains a NUL byte"),
        (
            {name: pl.Series(["1", "2"]) for name in ("x1", "y1", "x2", "y2")},
            "x1 must be a number, not String",
        ),
    ],
)
def test_wrong_columns(change, said):
    assert said in "\n".join(reasons(frame_of(["a", "b"]).with_columns(**change)))


def test_no_rows():
    assert reasons(frame_of(["a"]).clear()) == ["t.csv: has no rows"]


def test_splits_and_rows():
    table = Table(frame_of(["a", "b", "c"], ["x", "y", "z"], ["train", "test", "train"]), Path("in"))
    assert table.split("train").frame["path"].to_list() == ["a", "c"]
    assert len(table.split("train", "test")) == 3
    with pytest.raises(
        DataError, match=r"in: no images in split val; there are train \(2 images\), test \(1 images\)"
    ):
        table.split("val")
    assert table.take([2, 0, 2]).frame["path"].to_list() == ["c", "a", "c"]
    assert table.take(np.array([False, True, False])).labels.tolist() == ["y"]
    assert len(table.take([])) == 0
    assert table.file(1) == Path("in/b")


def test_paths_follow_a_moved_table(tmp_path):
    (tmp_path / "raw" / "x").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "raw" / "x")
    (tmp_path / "raw" / "x" / "a.jpg").touch()
    (tmp_path / "raw" / "b.jpg").touch()
    there = str(tmp_path / "raw" / "b.jpg")
    table = Table(frame_of(["a.jpg", "../b.jpg", there], ["1", "2", "3"]), tmp_path / "link")
    moved = table.relative_to(tmp_path / "sets" / "mine")
    assert moved.frame["path"].to_list() == ["../../raw/x/a.jpg", "../../raw/b.jpg", there]
    write_table(table, tmp_path / "sets" / "mine", {})
    assert len(read_table(tmp_path / "sets" / "mine")) == 3


def test_a_folder_says_what_made_it_and_what_is_missing(photos):
    folder = photos("a.jpg")
    about = {"source": {"root": "héllo"}, "seed": 0}
    write_table(
        Table(frame_of(["a.jpg"]), folder), folder / "set", about, [Problem("b.jpg", "empty, see", 3)]
    )
    assert yaml.safe_load((folder / "set" / "config.yaml").read_text(encoding="utf-8")) == about
    assert pl.read_csv(folder / "set" / "skipped.csv").rows() == [("b.jpg", 3, "empty, see")]


def test_an_existing_folder_is_refused(photos):
    folder = photos("a.jpg", "set/mine.txt")
    with pytest.raises(LookalikeError, match="exists"):
        write_table(Table(frame_of(["a.jpg"]), folder), folder / "set", {})
    assert [file.name for file in (folder / "set").iterdir()] == ["mine.txt"]


FULL_DISK = """
import resource, signal, sys
import polars as pl
from lookalike.data.table import Table, write_table
from pathlib import Path
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
rows = [f"{n * 7919 % 10007}.jpg" for n in range(5000)]
frame = pl.DataFrame({"path": rows, "label": rows[::-1], "split": ["train"] * len(rows)})
try:
    write_table(Table(frame, Path(".")), "set", {})
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ") or not hasattr(resource, "setrlimit"), reason="POSIX only")
def test_a_full_disk_leaves_nothing_behind(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("DataError set could not be written"), done
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_left_is_said_and_in_no_ones_way(tmp_path, monkeypatch, caplog):
    """In containers each run may have the same process number."""
    monkeypatch.setattr("os.getpid", lambda: 7)
    names = []
    for _ in range(2):
        with contextlib.suppress(KeyboardInterrupt), monkeypatch.context() as killed:
            killed.setattr("shutil.rmtree", lambda *_, **__: None)
            with new_folder(tmp_path / "[mine]") as place:
                names.append(place.name)
                raise KeyboardInterrupt
    with new_folder(tmp_path / "[mine]"):
        pass
    assert len(set(names)) == 2
    assert caplog.text.count(f"{names[0]} was left by a killed run") == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*names, "[mine]"])
