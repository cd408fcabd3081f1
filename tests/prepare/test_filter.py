import math
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lookalike.data.table import Table
from lookalike.errors import DataError
from lookalike.prepare.filter import Filters, filter_table
from lookalike.prepare.lists import find_listed_rows


def table_of(rows, folder="/photos/set", **more):
    paths, labels = zip(*rows, strict=True)
    frame = pl.DataFrame({"path": paths, "label": labels, "split": ["train"] * len(rows), **more})
    return Table(frame, Path(folder))


@pytest.fixture
def animals():
    names = ["cat/1.jpg", "cat/11.jpg", "../old/cat/1.jpg", "dog/2.jpg", "fox/2.jpg"]
    return table_of([(name, name.split("/")[-2]) for name in names])


def listed_paths(table, file):
    rows, problems = find_listed_rows(table, file)
    return [table.frame["path"][int(row)] for row in rows.nonzero()[0]], [str(one) for one in problems]


def test_a_list_names_labels_or_the_ends_of_paths(animals, tmp_path):
    file = tmp_path / "keep.txt"
    file.write_text("\ufefffox\n\n./dog/2.jpg\nset/cat/1.jpg\n../old/cat/1.jpg\n/photos/set/cat/11.jpg\n")
    assert listed_paths(animals, file) == (animals.frame["path"].to_list(), [])
    file.write_text("1.jpg\n2.jpg\ndog\\2.jpg\nat/11.jpg\nfox/2.jp\n/set/dog/2.jpg\n")
    found, problems = listed_paths(animals, file)
    assert found == ["dog/2.jpg"], "only whole names count"
    assert problems == [
        "keep.txt, row 0: '1.jpg' may be /photos/set/cat/1.jpg or /photos/old/cat/1.jpg: 2 files; give "
        "more of the path",
        "keep.txt, row 1: '2.jpg' may be /photos/set/dog/2.jpg or /photos/set/fox/2.jpg: 2 files; give "
        "more of the path",
        "keep.txt, row 3: 'at/11.jpg' is not a label or path in the table",
        "keep.txt, row 4: 'fox/2.jp' is not a label or path in the table",
        "keep.txt, row 5: '/set/dog/2.jpg' is not a label or path in the table",
    ]


def test_a_list_that_is_a_table_has_one_column_that_counts(animals, tmp_path):
    (tmp_path / "a.csv").write_text("label,path\nfox,cat/11.jpg\n")
    assert listed_paths(animals, tmp_path / "a.csv") == (["cat/11.jpg"], [])
    pl.DataFrame({"label": ["cat"]}).write_parquet(tmp_path / "b.parquet")
    assert listed_paths(animals, tmp_path / "b.parquet")[0] == ["cat/1.jpg", "cat/11.jpg", "../old/cat/1.jpg"]
    numbers = table_of([("a.jpg", 7), ("b.jpg", 8)])
    (tmp_path / "c.csv").write_text("label\n7\n")
    assert listed_paths(numbers, tmp_path / "c.csv")[0] == ["a.jpg"]
    same = table_of([("7", "a"), ("x", "7")])
    (tmp_path / "d.txt").write_text("7\nx\n")
    assert listed_paths(same, tmp_path / "d.txt") == (["x"], ["d.txt, row 0: '7' is a label and also a path"])


def test_all_boxes_of_a_file_are_meant(tmp_path):
    boxes = {"x1": [0, 5], "y1": [0, 0], "x2": [5, 9], "y2": [9, 9]}
    (tmp_path / "a.txt").write_text("a.jpg")
    assert find_listed_rows(table_of([("a.jpg", "1"), ("a.jpg", "2")], **boxes), tmp_path / "a.txt")[0].all()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (
            "a.txt",
            b"nobody\nnothing\n",
            r"matches nothing in the table, whose paths are relative to /photos/set:",
        ),
        ("a.txt", b"\n \n", "the list is empty"),
        ("a.txt", "Bär".encode("latin-1"), "line 1 is not UTF-8"),
        ("a.csv", b"image\na.jpg\n", "needs a column path or label; it has image"),
        ("a.pdf", b"", r"a list ends in \.txt.*not '\.pdf'"),
    ],
)
def test_lists_that_cannot_be_used(animals, tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=said):
        find_listed_rows(animals, tmp_path / name)


def test_filters_work_one_after_the_other(tmp_path, caplog):
    rows = [(f"{label}{number}.jpg", label) for label in "abcd" for number in range(4)]
    table = table_of(rows, width=[10, 20, 30, 40] * 4, height=[50] * 16)
    (tmp_path / "drop.txt").write_text("d\n")
    (tmp_path / "keep.txt").write_text("a\nb\nd\nc0.jpg\nc3.jpg\n")
    filters = Filters(tmp_path / "keep.txt", tmp_path / "drop.txt", min_side=20, min_images=2, max_images=2)
    with caplog.at_level("INFO", "lookalike"):
        kept, gone = filter_table(table, filters)
    assert sorted(set(kept.frame["label"])) == ["a", "b"]
    assert len(kept) == 4 and len(kept) + len(gone) == 16
    reasons = {path: (row, reason) for path, _, row, reason in gone.iter_rows()}
    assert reasons["c1.jpg"] == (9, f"not on the list: keep={tmp_path / 'keep.txt'}")
    assert reasons["d0.jpg"] == (12, f"on the list: drop={tmp_path / 'drop.txt'}")
    assert reasons["a0.jpg"] == (0, "10 × 50 pixels: min_side=20")
    assert reasons["c3.jpg"] == (11, "its class has 1 image: min_images=2")
    assert sum("max_images=2" in reason for _, reason in reasons.values()) == 2
    assert "min_images=2: 1 image left out, including all of 1 class" in caplog.text


def test_a_box_is_what_counts_of_an_image():
    boxes = {"x1": [0, None], "y1": [0, None], "x2": [30, None], "y2": [9, None]}
    table = table_of([("a.jpg", "1"), ("b.jpg", "1")], width=[99, 99], height=[99, 99], **boxes)
    assert filter_table(table, Filters(min_side=10))[0].frame["path"].to_list() == ["b.jpg"]
    for sizes in ({}, *({"width": [9], "height": [size]} for size in (None, float("nan"), "9 px"))):
        with pytest.raises(DataError, match="min_side needs the columns width and height"):
            filter_table(table_of([("a.jpg", "1")], **sizes), Filters(min_side=10))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from("abcde"), min_size=1, max_size=40),
    st.integers(1, 5),
    st.integers(1, 6) | st.none(),
    st.integers(0, 99),
    st.randoms(use_true_random=False),
)
def test_classes_have_the_images_they_may_have(labels, least, most, seed, random):
    table = table_of([(f"{row}.jpg", label) for row, label in enumerate(labels)])
    filters = Filters(min_images=least, max_images=most, seed=seed)
    counts = {label: labels.count(label) for label in set(labels)}
    wanted = {label: min(n, most or math.inf) for label, n in counts.items() if n >= least}
    if not wanted:
        with pytest.raises(DataError, match="nothing is left"):
            filter_table(table, filters)
        return
    kept, gone = filter_table(table, filters)
    found = kept.frame["label"].to_list()
    assert {label: found.count(label) for label in set(found)} == wanted
    assert kept.frame["path"].to_list() == [
        path for path in table.frame["path"] if path not in set(gone["path"])
    ]
    order = list(range(len(labels)))
    random.shuffle(order)
    assert set(filter_table(table.take(order), filters)[0].frame["path"]) == set(kept.frame["path"])


def test_only_some_splits_are_filtered():
    table = table_of([("a.jpg", "1"), ("b.jpg", "2"), ("c.jpg", "2")])
    table = Table(table.frame.with_columns(split=pl.Series(["test", "train", "train"])), table.folder)
    assert len(filter_table(table, Filters(min_images=2), ["train"])[0]) == 3
    assert len(filter_table(table, Filters(min_images=2))[0]) == 2
    assert len(filter_table(table, Filters(max_images=1), ["train"])[0]) == 2
