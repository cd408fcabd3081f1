import csv
import logging
import re

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from lookalike.errors import DataError
from lookalike.prepare.boxes import ROW
from lookalike.prepare.dataset import refuse_unusable, with_sizes
from lookalike.prepare.files import FileCheck
from lookalike.prepare.naming import UNLISTED
from lookalike.prepare.table import table


@pytest.fixture
def raw_folder(tmp_path):
    """A folder with the files a.jpg … f.jpg and x/g.jpg."""
    (tmp_path / "raw" / "x").mkdir(parents=True)
    for name in ("a", "b", "c", "d", "e", "f", "x/g"):
        (tmp_path / "raw" / f"{name}.jpg").touch()
    return tmp_path / "raw"


@pytest.fixture
def raw(raw_folder):
    """`raw(text)` writes info.csv beside these files."""

    def write(text):
        file = raw_folder / "info.csv"
        file.write_text(text, encoding="utf-8")
        return file

    return write


def problem_texts(problems):
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
    assert problem_texts(problems) == [
        "c.jpg, row 3: box 200.0 150.0 100.0 50.0: must be x1 y1 x2 y2 with x1 < x2 and y1 < y2",
        "d.jpg, row 4: bbox '1 2 3': must be four numbers, as '10 20 110 220'",
    ]
    assert "is_test" in caplog.text


@pytest.mark.parametrize("text", ['"[100, 50, 100, 100]"', "100 50 100 100", "(100; 50; 100; 100)"])
def test_boxes_by_size(raw, text):
    found, _ = table(raw(f"path,label,bbox\na.jpg,1,{text}\nb.jpg,1,\n"), box="xywh")
    assert found.box(0) == (100, 50, 200, 150)


def test_boxes_that_begin_outside(raw):
    found, problems = table(raw("path,label,x1,y1,x2,y2\na.jpg,1,-2,-1.5,9,9\nb.jpg,1,-9,0,-2,9\n"))
    assert found.box(0) == (-2, -2, 9, 9), "where it ends is known once the image was looked at"
    assert problem_texts(problems) == ["b.jpg, row 1: box -9.0 0.0 -2.0 9.0: is left of or above the image"]


def test_boxes_beyond_all_whole_numbers(raw):
    found, _ = table(raw("path,label,x1,y1,x2,y2\na.jpg,1,1e18,0,2e18,9\nb.jpg,2,0,0,1e300,9\n"))
    kept, problems, cut = with_sizes(found, [FileCheck(20, 10), FileCheck(20, 10)])
    assert [kept.box(row) for row in range(len(kept))] == [(0, 0, 20, 9)]
    assert "outside the image of 20 × 10 pixels" in problems[0].reason and len(cut) == 1


def test_boxes_that_become_the_same_boxes_are_one(raw):
    boxes = ["a.jpg,1,1.2,0,9,9", "a.jpg,1,1.4,0,9,8.5", "b.jpg,1,0,0,30,9", "b.jpg,1,0,0,40,9"]
    more = ["b.jpg,2,3,0,30,9", "b.jpg,1,3,0,40,9", "c.jpg,2,,,,"]
    found, problems = table(raw("path,label,x1,y1,x2,y2\n" + "\n".join(boxes + more)))
    assert problem_texts(problems) == ["a.jpg, row 1: a.jpg is listed before, in row 0"]
    kept, problems, cut = with_sizes(found, [FileCheck(20, 10)] * 6)
    assert kept.frame["path"].to_list() == ["a.jpg", "b.jpg", "c.jpg"]
    same = "in whole pixels and inside the image, is that of"
    assert problem_texts(problems) == [
        f"b.jpg, row 3: box 0 0 20 9, {same} an earlier row",
        f"b.jpg, row 4: box 3 0 20 9, {same} another row with another label",
        f"b.jpg, row 5: box 3 0 20 9, {same} another row with another label",
    ]
    assert [one.row for one in cut] == [2]


def test_boxes_as_lists(raw):
    file = raw("").with_suffix(".parquet")
    pl.DataFrame(
        {"path": ["a.jpg", "b.jpg"], "label": [1, 1], "bbox": [[1.0, 2.0, 3.0, 4.0], None]}
    ).write_parquet(file)
    found, problems = table(file, box="xyxy")
    assert [found.box(row) for row in (0, 1)] == [(1, 2, 3, 4), None]
    assert not problems


def test_columns_of_other_names(raw, tmp_path):
    (tmp_path / "lists").mkdir()
    file = raw("image,upc,label,part,note\na.jpg,0012,junk,Training,5\nb.jpg,0012,junk,validation,6\n")
    file = file.rename(tmp_path / "lists" / "mine.csv")
    found, _ = table(file, root=tmp_path / "raw", path="image", label="upc", split="part")
    assert found.frame.drop(ROW).rows() == [("a.jpg", "0012", "train", 5), ("b.jpg", "0012", "val", 6)]
    with pytest.raises(
        DataError, match=r"'part' contains the names of splits: 'source\.columns=\{split: part\}'"
    ):
        table(file, root=tmp_path / "raw")
    with pytest.raises(DataError, match=r"has no column 'picture'; it has 'image', 'upc'.*source\.path=…"):
        table(file, path="picture")
    with pytest.raises(DataError, match=r"has no column 'splits'.*source\.split=…"):
        table(file, path="image", split="splits")
    with pytest.raises(DataError, match=r"source\.root=.*no such folder"):
        table(file, root=tmp_path / "none", path="image")


def test_without_a_split_there_is_no_split(raw):
    assert "split" not in table(raw("path,label\na.jpg,1\nb.jpg,2\n"))[0].frame.columns
    assert "split" not in table(raw("path,label,split\na.jpg,1,\nb.jpg,2,\n"))[0].frame.columns


def test_other_words_for_splits_are_reported(raw, caplog):
    with caplog.at_level(logging.INFO, "lookalike"):
        found, _ = table(raw("path,label,split\na.jpg,1,Training\nb.jpg,2,dev\nc.jpg,2,TEST\n"))
    assert found.frame["split"].to_list() == ["train", "val", "test"]
    assert "info.csv: column split: dev is val, training is train" in caplog.text


def test_a_json_file_leads_to_the_source_that_reads_it(raw_folder):
    with pytest.raises(DataError, match=r"For COCO annotations: source=coco source.file=.*info.json"):
        table(raw_folder / "info.json")


def test_bad_rows_are_left_out_with_a_reason(raw):
    found, problems = table(
        raw(
            "path,label,split\na.jpg,1,train\nb.jpg,,train\n,2,train\ngone.jpg,2,test\na.jpg,1,train\n"
            "c.jpg,3,train\nc.jpg,4,train\nd.jpg,5,holdout\ne.jpg,5,TEST\n"
        )
    )
    assert found.frame.rows() == [(0, "a.jpg", "1", "train"), (8, "e.jpg", "5", "test")]
    assert problem_texts(problems) == [
        "b.jpg, row 1: label is empty",
        "info.csv, row 2: path is empty",
        "gone.jpg, row 3: there is no such file",
        "a.jpg, row 4: a.jpg is listed before, in row 0",
        "c.jpg, row 5: c.jpg is listed under 2 labels, here '3'",
        "c.jpg, row 6: c.jpg is listed under 2 labels, here '4'",
        "d.jpg, row 7: split 'holdout': must be train, val or test",
    ]


def test_a_wrong_root_is_one_message(raw):
    with pytest.raises(
        DataError, match=r"none of its 40 rows can be used; paths are relative to .*raw"
    ) as caught:
        table(raw("path,label\n" + "".join(f"{row}.jpg,{row}\n" for row in range(40))))
    assert "and 20 more" in str(caught.value)


def test_empty_and_unknown(raw):
    with pytest.raises(DataError, match="no rows; its columns are path, label"):
        table(raw("path,label\n"))
    with pytest.raises(DataError, match="it is empty"):
        table(raw(""))
    with pytest.raises(DataError, match="no row has a valid split; split 'x': must be train"):
        table(raw("path,label,split\na.jpg,1,x\n"))
    with pytest.raises(DataError, match="the box is in bbox, and there is also x1"):
        table(raw("path,label,bbox,x1\na.jpg,1,1 2 3 4,1\n"))


def test_labels_that_are_numbers(raw):
    csv = raw("path,label\na.jpg,007\nb.jpg,7\n")
    assert table(csv)[0].labels.tolist() == ["007", "7"]
    file = csv.with_suffix(".parquet")
    pl.DataFrame({"path": ["a.jpg", "b.jpg", "c.jpg"], "label": [1.0, None, 2.0]}).write_parquet(file)
    found, problems = table(file)
    assert found.labels.tolist() == [1, 2]
    assert problem_texts(problems) == ["b.jpg, row 1: label is empty"]
    for values, wrong in (
        ([0.5, 1.0], "decimal"),
        ([2.0**53, 1.0], "9,007,199,254,740,992 or more"),
        (pl.Series([2.0**24, 1.0], dtype=pl.Float32), "16,777,216 or more"),
        ([None, None], "none of its 2 rows"),
        ([True, False], "not Boolean"),
    ):
        pl.DataFrame({"path": ["a.jpg", "b.jpg"], "label": values}).write_parquet(file)
        with pytest.raises(DataError, match=wrong):
            table(file)
    pl.DataFrame({"path": ["a.jpg", "b.jpg"], "upc": pl.Series([1, 2], dtype=pl.UInt16)}).write_parquet(file)
    assert table(file, label="upc")[0].labels.tolist() == [1, 2]


def test_labels_in_two_unicode_forms_are_told_apart_in_words(raw, caplog):
    one, two = "Caf\u00e9", "Cafe\u0301"
    table(raw(f"path,label\na.jpg,{one}\nb.jpg,{two}\n"))
    assert f"label {one!r} (1 row) is the same letters in another Unicode form as {two!r}" in caplog.text
    assert "nearly" not in caplog.text


def test_labels_that_are_nearly_the_same(raw, caplog):
    file = raw("path,label\na.jpg,Cat\nb.jpg,cat\nc.jpg,dog\nd.jpg,cat\ne.jpg,dog \n")
    found, problems = table(file)
    assert found.labels.tolist() == ["Cat", "cat", "dog", "cat", "dog "] and not problems
    for line in (
        "info.csv, row 0: label 'Cat' (1 row) is nearly 'cat'",
        "info.csv, row 1: label 'cat' (2 rows) is nearly 'Cat'",
        "info.csv, row 2: label 'dog' (1 row) is nearly 'dog '",
        "info.csv, row 4: label 'dog ' (1 row) is nearly 'dog'",
    ):
        assert line in caplog.text
    assert table(file, names="merge")[0].labels.tolist() == ["Cat", "Cat", "dog", "Cat", "dog"]
    with pytest.raises(DataError, match=r"2 labels are spelled in several ways.*source\.names=merge"):
        table(file, names="refuse")


@pytest.mark.parametrize("word", ["NaN", "nan", "null", "None", "N/A", "#N/A", "<NA>", " NULL "])
def test_words_for_no_label_are_left_out_with_their_row_or_kept_as_names(raw, word):
    file = raw(f"path,label\na.jpg,x\nb.jpg,{word}\nc.jpg,Nancy\nd.jpg,x\n")
    found, problems = table(file)
    assert found.labels.tolist() == ["x", "Nancy", "x"]
    assert problem_texts(problems) == [
        f"b.jpg, row 1: label {word!r} usually means a missing label; add source.nothing=keep if it is a "
        "class name"
    ]
    assert table(file, nothing="keep")[0].labels.tolist() == ["x", word, "Nancy", "x"]


def test_boxes_with_something_that_is_no_number(raw):
    text = "path,label,x1,y1,x2,y2\na.jpg,1,0,0,9,9\nb.jpg,1,0,zero,9,9\nc.jpg,1,nan,0,9,9\nd.jpg,1,,,,\n"
    found, problems = table(raw(text + "e.jpg,1,0,0,9,1e999\n"))
    assert [found.box(row) for row in range(2)] == [(0, 0, 9, 9), None]
    assert problem_texts(problems) == [
        "b.jpg, row 1: y1 'zero': must be a number",
        "c.jpg, row 2: a box needs finite numbers",
        "e.jpg, row 4: a box needs finite numbers",
    ]


def test_images_that_no_row_names(raw):
    file = raw("path,label\na.jpg,1\n./b.jpg,1\n")
    assert not table(file)[1]
    missing = table(file, unlisted=True)[1]
    assert [one.path for one in missing] == ["c.jpg", "d.jpg", "e.jpg", "f.jpg", "x/g.jpg"]
    assert {one.reason for one in missing} == {UNLISTED}


def test_every_missing_column_is_named(raw):
    said = r"no column 'path' and 'label'; .*'source\.columns=\{path: where\}', source\.label=…"
    with pytest.raises(DataError, match=said):
        table(raw("where,what\na.jpg,1\n"))


def test_every_row_with_other_fields_is_listed(raw):
    rows = "".join(f"{row}.jpg,x,y\n" if row % 2 else f"{row}.jpg\n" for row in range(60))
    with pytest.raises(DataError, match="some rows have another number of fields") as caught:
        table(raw("path,label\na.jpg,1\n" + rows))
    assert len(caught.value.problems) == 60
    assert str(caught.value.problems[0]) == "info.csv, row 1: 1 fields where the header has 2: '0.jpg'"


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252"])
def test_another_encoding_is_refused_with_its_rows(raw, encoding):
    file = raw("")
    file.write_bytes("path,label\na.jpg,Bär\nb.jpg,x\nc.jpg,Größe\n".encode(encoding))
    with pytest.raises(DataError, match="UTF-8") as caught:
        table(file)
    assert [problem.row for problem in caught.value.problems] == [0, 2]


def test_utf_16_with_its_mark_is_read(raw):
    file = raw("")
    file.write_bytes("path\tlabel\r\na.jpg\tBär\r\nb.jpg\tx\r\n".encode("utf-16"))
    assert table(file)[0].labels.tolist() == ["Bär", "x"]


def test_paths_from_windows(raw):
    assert table(raw("path,label\nx\\g.jpg,1\na.jpg,2\n"))[0].frame["path"].to_list() == ["x/g.jpg", "a.jpg"]


def test_very_long_names_are_shortened_where_they_are_printed(raw):
    name = "ж" * 1000
    found, problems = table(raw(f"path,label\na.jpg,{name}\n{name}.jpg,2\nb.jpg,3\n"))
    assert found.labels.tolist() == [name, "3"]
    assert "File name too long" in problems[0].reason
    assert len(str(problems[0])) < 400


def test_a_text_that_is_too_long_for_a_label_is_left_out(raw, caplog):
    found, problems = table(raw(f"path,label\na.jpg,{'x' * 1001}\nb.jpg,{'X' * 1001}\nx/g.jpg,3\n"))
    assert found.labels.tolist() == ["3"]
    reason = "label of 1001 characters; the maximum is 1000"
    assert problem_texts(problems) == [f"a.jpg, row 0: {reason}", f"b.jpg, row 1: {reason}"]
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


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


def test_a_file_in_several_spellings_is_one_file(tmp_path):
    for name in ("a.png", "b.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    (tmp_path / "link").symlink_to(tmp_path)
    paths = ["a.png", str(tmp_path / "a.png"), "link/a.png", f"../{tmp_path.name}//a.png", "b.png"]
    pl.DataFrame({"path": paths, "label": ["x", "y", "x", "x", "x"]}).write_csv(tmp_path / "t.csv")
    found, wrong = table(tmp_path / "t.csv")
    assert found.frame["path"].to_list() == ["b.png"]
    assert [problem.row for problem in wrong] == [0, 1, 2, 3]
    assert "a.png is listed under 2 labels, here 'y'" in str(wrong[1])


FIELDS = {
    "path": ["a.jpg", "b.jpg", "./c.jpg", "x/g.jpg", "gone.jpg", "x", "", "nan", 'a "b", c.jpg'],
    "label": ["cat", "Cat", "cat ", "007", "7", "", "NaN", "null", "None", "ä\nö"],
    "split": ["train", "TEST", "valid", "", "holdout", "nan"],
    "x1": ["0", "1.5", "-3", "", "nan", "zero", "1e999"],
    "y1": ["0", ""],
    "x2": ["9", "1", "", "inf"],
    "y2": ["9", ""],
}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(*map(st.sampled_from, FIELDS.values())), min_size=1, max_size=8),
    st.sampled_from(["keep", "merge"]),
    st.sampled_from(["leave_out", "keep"]),
)
def test_every_row_is_used_or_listed_with_its_number(raw_folder, rows, names, nothing):
    file = raw_folder / "info.csv"
    with file.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([FIELDS, *rows])
    try:
        found, problems = table(file, names=names, nothing=nothing)
        kept = found.frame[ROW].to_list()
    except DataError as error:
        problems, kept = error.problems, []
        if not problems:
            assert "no row has a valid split" in str(error)
            return
    lost = {problem.row for problem in problems}
    assert lost.isdisjoint(kept) and sorted([*kept, *lost]) == list(range(len(rows)))
    for row in kept:
        label = rows[row][1]
        assert found.frame.filter(pl.col(ROW) == row)["label"][0] in ({label} if names == "keep" else {
            "cat", "Cat", "cat ", label
        })  # fmt: skip
        assert nothing == "keep" or label.lower() not in ("nan", "null", "none")


def test_empty_rows_are_listed_once_each(raw):
    found, problems = table(raw("path,label,split\n\na.jpg,1,train\n,,\nb.jpg,2,test\n , ,\n\n"))
    assert len(found) == 2
    assert [str(problem).partition(", ")[2] for problem in problems] == [
        f"row {row}: the row is empty" for row in (0, 2, 4, 5)
    ]
    left_out = refuse_unusable(found, problems, 0.0, "list.csv")
    assert left_out is None, "they are no lost images"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('path,label\na.jpg,1\nb.jpg,"2\nc.jpg,3\n', "row 1: a quotation mark is opened here and not closed"),
        ('path,label\na.jpg,5" wide\nb.jpg,2\n', "a text contains a single quotation mark: quote"),
        ('path,label\na.jpg,"1" x\nb.jpg,2\n', "a text contains a single quotation mark: quote"),
        ("path,label\ra.jpg,1\rb.jpg,2\r", "it has line ends of old Mac programs"),
        (f"path,label,note\na.jpg,1,{'x' * 200_000}\nb.jpg,2\n", "row 1: 2 fields where the header has 3"),
    ],
)
def test_a_csv_that_no_program_wrote(raw, text, said):
    with pytest.raises(DataError, match=re.escape(said)):
        table(raw(text))


def test_a_label_that_swallowed_rows(raw):
    found, problems = table(raw('path,label\na.jpg,"1\nb.jpg,2"\nc.jpg,3\nd.jpg,4\n'))
    assert len(found) == 2
    assert problem_texts(problems) == [
        "a.jpg, row 0: label contains a line break; a quotation mark may be unbalanced"
    ]


def test_messages_do_not_play_with_the_terminal(raw):
    _, problems = table(raw("path,label\na\x1b[31m.jpg,1\nb.jpg,2\nc.jpg,3\n"))
    assert problem_texts(problems) == ["a\\x1b[31m.jpg, row 0: there is no such file"]
