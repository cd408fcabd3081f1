import logging

import polars as pl
import pytest
from PIL import Image

from lookalike.errors import DataError
from lookalike.prepare.tables import table


@pytest.fixture
def raw(tmp_path):
    """`raw(text)` writes raw/info.csv beside the files a.jpg … f.jpg and x/g.jpg."""
    (tmp_path / "raw" / "x").mkdir(parents=True)
    for name in ("a", "b", "c", "d", "e", "f", "x/g"):
        (tmp_path / "raw" / f"{name}.jpg").touch()

    def write(text):
        file = tmp_path / "raw" / "info.csv"
        file.write_text(text, encoding="utf-8")
        return file

    return write


def said(problems):
    return [str(problem) for problem in problems]


def test_easy_metric_learnings_own_file(raw, caplog):
    file = raw(
        "file_name,label,width,height,bbox,is_test,hash,fold\n"
        "a.jpg,001.Albatross,400,300,100 50 200 150,0,0123456789012345,1\n"
        "b.jpg,001.Albatross,-1,-1,,0,ffff,2\n"
        "x/g.jpg,002.Auk,400,300,0 0 400 300,1,e0e0,-2\n"
        "c.jpg,002.Auk,400,300,200 150 100 50,1,e0e1,-2\n"
        "d.jpg,002.Auk,400,300,1 2 3,1,e0e2,-2\n"
    )
    with caplog.at_level(logging.INFO, "lookalike"):
        found, problems = table(file)
    frame = found.frame
    assert frame.select("path", "label", "split").rows() == [
        ("a.jpg", "001.Albatross", "train"),
        ("b.jpg", "001.Albatross", "train"),
        ("x/g.jpg", "002.Auk", "test"),
    ]
    assert [found.box(row) for row in range(3)] == [(100, 50, 200, 150), None, (0, 0, 400, 300)]
    assert frame["hash"].to_list() == ["0123456789012345", "ffff", "e0e0"]
    assert frame["fold"].to_list() == [1, 2, -2]
    assert frame["width"].to_list() == [400, None, 400]
    assert said(problems) == [
        "c.jpg, row 3: box 200.0 150.0 100.0 50.0: must be x1 y1 x2 y2 with x1 < x2 and y1 < y2",
        "d.jpg, row 4: bbox '1 2 3': must be four numbers, as '10 20 110 220'",
    ]
    assert "is_test" in caplog.text


@pytest.mark.parametrize("text", ['"[100, 50, 100, 100]"', "100 50 100 100", "(100; 50; 100; 100)"])
def test_boxes_by_size(raw, text):
    found, _ = table(raw(f"path,label,bbox\na.jpg,1,{text}\nb.jpg,1,\n"), boxes="size")
    assert found.box(0) == (100, 50, 200, 150)


def test_boxes_that_begin_outside(raw):
    found, problems = table(raw("path,label,x1,y1,x2,y2\na.jpg,1,-2,-1.5,9,9\nb.jpg,1,-9,0,-2,9\n"))
    assert found.box(0) == (0, 0, 9, 9)
    assert "with x1 < x2" in said(problems)[0]


def test_boxes_as_lists(raw):
    file = raw("").with_suffix(".parquet")
    pl.DataFrame(
        {"path": ["a.jpg", "b.jpg"], "label": [1, 1], "bbox": [[1.0, 2.0, 3.0, 4.0], None]}
    ).write_parquet(file)
    found, problems = table(file)
    assert [found.box(row) for row in (0, 1)] == [(1, 2, 3, 4), None]
    assert not problems


def test_columns_of_other_names(raw, tmp_path):
    (tmp_path / "lists").mkdir()
    file = raw("image,upc,label,part,note\na.jpg,0012,junk,Training,5\nb.jpg,0012,junk,validation,6\n")
    file = file.rename(tmp_path / "lists" / "mine.csv")
    found, _ = table(file, root=tmp_path / "raw", path="image", label="upc", split="part")
    assert found.frame.rows() == [("a.jpg", "0012", "train", 5), ("b.jpg", "0012", "val", 6)]
    with pytest.raises(DataError, match=r"has no column 'path'; it has 'image', 'upc'.*source\.path=…"):
        table(file)
    with pytest.raises(DataError, match=r"has no column 'splits'.*source\.split=…"):
        table(file, path="image", split="splits")
    with pytest.raises(DataError, match=r"source\.root=.*no such folder"):
        table(file, root=tmp_path / "none", path="image")


def test_without_a_split_there_is_no_split(raw):
    assert "split" not in table(raw("path,label\na.jpg,1\nb.jpg,2\n"))[0].frame.columns
    assert "split" not in table(raw("path,label,split\na.jpg,1,\nb.jpg,2,\n"))[0].frame.columns


def test_bad_rows_are_left_out_with_a_reason(raw):
    found, problems = table(
        raw(
            "path,label,split\na.jpg,1,train\nb.jpg,,train\n,2,train\ngone.jpg,2,test\na.jpg,1,train\n"
            "c.jpg,3,train\nc.jpg,4,train\nd.jpg,5,holdout\ne.jpg,5,TEST\n"
        )
    )
    assert found.frame.rows() == [("a.jpg", "1", "train"), ("e.jpg", "5", "test")]
    assert said(problems) == [
        "b.jpg, row 1: label is empty",
        "info.csv, row 2: path is empty",
        "gone.jpg, row 3: gone.jpg: there is no such file",
        "a.jpg, row 4: a.jpg is listed before, in row 0",
        "c.jpg, row 5: c.jpg is listed under 2 labels, here '3'",
        "c.jpg, row 6: c.jpg is listed under 2 labels, here '4'",
        "d.jpg, row 7: split 'holdout': must be train, val or test",
    ]


def test_a_wrong_root_is_one_message(raw):
    with pytest.raises(DataError, match=r"none of its 40 rows can be used; paths start in .*raw") as caught:
        table(raw("path,label\n" + "".join(f"{row}.jpg,{row}\n" for row in range(40))))
    assert "and 20 more" in str(caught.value)


def test_empty_and_unknown(raw):
    with pytest.raises(DataError, match="no rows; its columns are path, label"):
        table(raw("path,label\n"))
    with pytest.raises(DataError, match="it is empty"):
        table(raw(""))
    with pytest.raises(DataError, match="no row has a split that is known; split 'x': must be train"):
        table(raw("path,label,split\na.jpg,1,x\n"))
    with pytest.raises(DataError, match="column bbox and also x1"):
        table(raw("path,label,bbox,x1\na.jpg,1,1 2 3 4,1\n"))


def test_labels_that_are_numbers(raw):
    csv = raw("path,label\na.jpg,007\nb.jpg,7\n")
    assert table(csv)[0].labels.tolist() == ["007", "7"]
    file = csv.with_suffix(".parquet")
    pl.DataFrame({"path": ["a.jpg", "b.jpg", "c.jpg"], "label": [1.0, None, 2.0]}).write_parquet(file)
    found, problems = table(file)
    assert found.labels.tolist() == [1, 2]
    assert said(problems) == ["b.jpg, row 1: label is empty"]
    for values, wrong in (
        ([0.5, 1.0], "decimal"),
        ([2.0**60, 1.0], "decimal"),
        ([True, False], "not Boolean"),
    ):
        pl.DataFrame({"path": ["a.jpg", "b.jpg"], "label": values}).write_parquet(file)
        with pytest.raises(DataError, match=wrong):
            table(file)
    pl.DataFrame({"path": ["a.jpg", "b.jpg"], "upc": pl.Series([1, 2], dtype=pl.UInt16)}).write_parquet(file)
    assert table(file, label="upc")[0].labels.tolist() == [1, 2]


def test_labels_that_differ_in_case_are_kept_and_said(raw, caplog):
    found, _ = table(raw("path,label\na.jpg,Cat\nb.jpg,cat\nc.jpg,dog\n"))
    assert found.labels.tolist() == ["Cat", "cat", "dog"]
    assert "1 label is written in several ways, and kept as different classes: 'Cat', 'cat'" in caplog.text


def test_paths_from_windows(raw):
    assert table(raw("path,label\nx\\g.jpg,1\na.jpg,2\n"))[0].frame["path"].to_list() == ["x/g.jpg", "a.jpg"]


def test_very_long_names_are_shortened_where_they_are_printed(raw):
    name = "ж" * 3000
    found, problems = table(raw(f"path,label\na.jpg,{name}\n{name}.jpg,2\nb.jpg,3\n"))
    assert found.labels.tolist() == [name, "3"]
    assert "File name too long" in problems[0].reason
    assert len(str(problems[0])) < 400


def test_columns_may_be_swapped_or_serve_twice(tmp_path):
    pl.DataFrame({"path": ["x", "y"], "label": ["a.png", "b.png"]}).write_csv(tmp_path / "swapped.csv")
    for name in ("a.png", "b.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    frame = table(tmp_path / "swapped.csv", path="label", label="path")[0].frame
    assert frame["path"].to_list() == ["a.png", "b.png"] and frame["label"].to_list() == ["x", "y"]
    frame = table(tmp_path / "swapped.csv", path="label", label="label")[0].frame
    assert frame["path"].to_list() == frame["label"].to_list() == ["a.png", "b.png"]


def test_a_file_has_one_spelling(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    pl.DataFrame({"path": ["a.png", "./a.png", "././a.png"], "label": ["x", "x", "x"]}).write_csv(
        tmp_path / "t.csv"
    )
    found, wrong = table(tmp_path / "t.csv")
    assert found.frame["path"].to_list() == ["a.png"]
    assert len(wrong) == 2
