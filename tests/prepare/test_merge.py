from pathlib import Path

import polars as pl
import pytest

from lookalike.data.table import Table
from lookalike.errors import DataError
from lookalike.prepare.contents import content_hash, format_of, same_files
from lookalike.prepare.merge import Choices, merge_tables


@pytest.fixture
def sets(tmp_path):
    """`sets(a={"1.jpg": "cat"}, b=…)`: tables over files whose content is their name, or what follows `=`."""

    def make(**tables):
        found = {}
        for name, rows in tables.items():
            (tmp_path / name).mkdir(exist_ok=True)
            paths = []
            for text in rows:
                path, _, content = text.partition("=")
                (tmp_path / name / path).write_text(content or f"{name}/{path}")
                paths.append(path)
            frame = pl.DataFrame({"path": paths, "label": list(rows.values()), "split": "train"})
            found[name] = Table(frame, tmp_path / name)
        return found

    return make


def with_columns(table, **columns):
    return Table(table.frame.with_columns(**columns), table.folder)


def test_prefixes_keep_labels_and_groups_apart(sets, tmp_path):
    tables = sets(a={"1.jpg": 7, "2.jpg": 8}, b={"1.jpg": "7", "3.jpg": "x"})
    tables = {name: with_columns(table, group=pl.lit("left")) for name, table in tables.items()}
    table, clashes = merge_tables(tables, tmp_path / "sets" / "both", Choices(["a/", "b-"]))
    assert table.labels.tolist() == ["a/7", "a/8", "b-7", "b-x"]
    assert table.frame["group"].to_list() == ["a/left", "a/left", "b-left", "b-left"]
    assert table.frame["dataset"].to_list() == ["a", "a", "b", "b"]
    assert table.frame["path"].to_list()[2] == "../../b/1.jpg"
    assert clashes.select("kind", "what").rows() == [("column", "label")], "a number became text"


def test_labels_in_both_are_refused_or_one_identity(sets, tmp_path):
    tables = sets(a={"1.jpg": "cat", "2.jpg": "dog"}, b={"3.jpg": "cat", "4.jpg": "dog", "5.jpg": "Dog "})
    with pytest.raises(DataError, match=r"2 labels occur in several datasets: prefixes=") as caught:
        merge_tables(tables, tmp_path / "both", Choices())
    assert [str(problem) for problem in caught.value.problems] == [
        "b: label 'cat': is also in a",
        "b: label 'dog': is also in a",
    ]
    table, clashes = merge_tables(tables, tmp_path / "both", Choices(labels="same"))
    assert table.labels.tolist() == ["cat", "dog", "cat", "dog", "Dog "]
    assert clashes.select("kind", "what", "remark").rows() == [
        ("label", "cat", "is also in a"),
        ("label", "dog", "is also in a"),
        ("label alike", "Dog ", "kept apart from 'dog'"),
    ]


def test_numbers_stay_numbers(sets, tmp_path):
    table, _ = merge_tables(sets(a={"1.jpg": 2**60}, b={"3.jpg": 5}), tmp_path / "both", Choices())
    assert table.labels.tolist() == [2**60, 5]


def test_files_in_both_by_place_and_by_content(sets, tmp_path, caplog):
    tables = sets(
        a={"1.jpg": "cat", "2.jpg=same": "dog", "3.jpg=twin": "owl", "4.jpg=twin": "owl"},
        b={"5.jpg=same": "fox", "6.jpg=also": "fox"},
    )
    (tmp_path / "b" / "link.jpg").symlink_to(tmp_path / "a" / "1.jpg")
    more = pl.DataFrame({"path": ["../a/1.jpg", "link.jpg"], "label": "elk", "split": "train"})
    tables["b"] = Table(pl.concat([tables["b"].frame, more]), tmp_path / "b")
    with pytest.raises(
        DataError, match="3 rows show a file of an earlier dataset: files=first keeps"
    ) as caught:
        merge_tables(tables, tmp_path / "both", Choices())
    assert [str(problem) for problem in caught.value.problems] == [
        "b, row 0: content '../b/5.jpg': is also in a, row 1 (../a/2.jpg), under the label 'dog' instead of "
        "'fox'",
        "b, row 2: file '../a/1.jpg': is also in a, row 0 (../a/1.jpg), under the label 'cat' instead of "
        "'elk'",
        "b, row 3: file '../b/link.jpg': is also in a, row 0 (../a/1.jpg), under the label 'cat' instead of "
        "'elk'",
    ]
    table, clashes = merge_tables(tables, tmp_path / "both", Choices(files="first"))
    assert table.labels.tolist() == ["cat", "dog", "owl", "owl", "fox"], "twins in one set are its own affair"
    assert clashes.select("kind", "dataset", "row", "other").rows() == [
        ("content", "b", 0, "a"), ("file", "b", 2, "a"), ("file", "b", 3, "a")
    ]  # fmt: skip
    assert "1 clash of content:" in caplog.text and "2 clashes of file:" in caplog.text
    assert len(merge_tables(tables, tmp_path / "both", Choices(files="first", contents=False))[0]) == 6


def test_other_boxes_of_a_file_are_other_rows(sets, tmp_path):
    tables = sets(a={"1.jpg=x": "cat"}, b={"2.jpg=x": "dog"})
    for place, name in enumerate(tables):
        tables[name] = with_columns(
            tables[name], x1=pl.lit(place), y1=pl.lit(0), x2=pl.lit(place + 5), y2=pl.lit(5)
        )
    assert len(merge_tables(tables, tmp_path / "both", Choices())[0]) == 2
    tables["b"] = with_columns(tables["b"], x1=pl.lit(0), x2=pl.lit(5))
    with pytest.raises(DataError, match="1 row shows a file"):
        merge_tables(tables, tmp_path / "both", Choices())


def test_columns_that_differ_are_listed(sets, tmp_path):
    tables = sets(a={"1.jpg": "cat"}, b={"2.jpg": "dog"}, c={"3.jpg": "owl"})
    tables["a"] = with_columns(tables["a"], shop=pl.lit("x"), age=pl.lit(3), group=pl.lit("left"))
    tables["b"] = with_columns(tables["b"], shop=pl.lit("y"), age=pl.lit("old"), group=pl.lit("left"))
    table, clashes = merge_tables(tables, tmp_path / "both", Choices())
    assert table.frame["shop"].to_list() == ["x", "y", None]
    assert table.frame["age"].to_list() == ["3", "old", None]
    assert clashes.select("kind", "what", "dataset", "remark").rows() == [
        ("column", "shop", "c", "is missing: left empty"),
        ("column", "age", "c", "is missing: left empty"),
        ("column", "age", "b", "is String, and Int32 in a"),
        ("column", "group", "c", "is missing: left empty"),
        ("group", "left", "b", "is also in a; prefixes= separates them"),
    ]


def test_where_rows_came_from_is_kept(sets, tmp_path):
    tables = sets(a={"1.jpg": "cat"}, b={"2.jpg": "dog"})
    tables["a"] = with_columns(tables["a"], dataset=pl.lit("zoo"))
    assert merge_tables(tables, tmp_path / "both", Choices())[0].frame["dataset"].to_list() == ["zoo", "b"]


def test_contents(tmp_path):
    def file(name, content):
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    files = [file("a", b"x" * 3_000_000), file("b", b"y"), file("c", b"x" * 3_000_000), file("d", b"z"),
             file("e", b"x" * 2_999_999 + b"y")]  # fmt: skip
    assert same_files(files) == [[0, 2]]
    assert content_hash(files[1]) != content_hash(files[3]) and len(content_hash(files[0])) == 16
    starts = {"JPEG": b"\xff\xd8\xff\xe0", "PNG": b"\x89PNG\r", "WebP": b"RIFF....WEBP", "other": b"Dear"}
    assert {name: format_of(file(name, start)) for name, start in starts.items()} == {n: n for n in starts}
    assert format_of(Path("nowhere")) == "unreadable"
