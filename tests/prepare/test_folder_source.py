import logging
import os
from pathlib import Path

import pytest

from lookalike.errors import DataError
from lookalike.prepare.folder import table


@pytest.fixture
def tree(tmp_path):
    """`tree("cat/1.jpg", …)` makes files under photos/; a name ending in / is an empty folder."""

    def make(*names: str) -> Path:
        root = tmp_path / "photos"
        for name in names:
            place = root / name
            if name.endswith("/"):
                place.mkdir(parents=True)
            else:
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(b"x")
        return root

    return make


def rows(found):
    return found.frame.rows()


def problem_texts(problems):
    return [str(problem) for problem in problems]


def test_the_first_level_folder_is_the_label(tree):
    root = tree(
        "dog/b.PNG", "cat/1.jpg", "cat/2.JPEG", "cat/2021/3.webp", "dog/x/y/z.TIFF", "dog/5.bmp", "dog/6.gif"
    )
    found, problems = table(root)
    assert rows(found) == [
        ("cat/1.jpg", "cat"),
        ("cat/2.JPEG", "cat"),
        ("cat/2021/3.webp", "cat"),
        ("dog/5.bmp", "dog"),
        ("dog/6.gif", "dog"),
        ("dog/b.PNG", "dog"),
        ("dog/x/y/z.TIFF", "dog"),
    ]
    assert found.folder == root
    assert not problems


def test_loose_and_empty_and_other_files_are_said(tree, caplog):
    root = tree(
        "cat/1.jpg", "dog/1.jpg", "loose.jpg", "empty/", "cat/notes.txt", "cat/._1.jpg", ".DS_Store",
        ".git/x.jpg", "__MACOSX/cat/1.jpg", "Thumbs.db", "cat/README",
    )  # fmt: skip
    with caplog.at_level(logging.INFO, "lookalike"):
        found, problems = table(root)
    assert len(found) == 2
    assert problem_texts(problems) == [
        "loose.jpg: is outside the class folders, so it has no label",
        "empty/: a class folder without images",
        "Thumbs.db: not an image",
        "cat/README: not an image",
        "cat/notes.txt: not an image",
    ]
    assert "3 files of other kinds (.db 1, no ending 1, .txt 1) and 4 hidden files or folders" in caplog.text


def test_labels_one_level_further_down(tree, caplog):
    root = tree("pets/cat/1.jpg", "pets/dog/1.jpg", "wild/fox/1.jpg", "wild/2.jpg")
    found, problems = table(root, level=2)
    assert found.frame["label"].to_list() == ["cat", "dog", "fox"]
    assert problem_texts(problems) == ["wild/2.jpg: is outside the class folders, so it has no label"]
    caplog.clear()
    found, _ = table(root)
    assert found.frame["label"].to_list() == ["pets", "pets", "wild", "wild"]
    assert "if those 3 subfolders are the classes, add source.level=2" in caplog.text


def test_split_folders_are_splits(tree, caplog):
    root = tree("train/cat/1.jpg", "train/dog/1.jpg", "valid/fox/a/1.jpg", "test/cow/1.jpg", "test/2.jpg")
    with caplog.at_level(logging.INFO, "lookalike"):
        found, problems = table(root)
    assert rows(found) == [
        ("test/cow/1.jpg", "cow", "test"),
        ("train/cat/1.jpg", "cat", "train"),
        ("train/dog/1.jpg", "dog", "train"),
        ("valid/fox/a/1.jpg", "fox", "val"),
    ]
    assert "'test', 'train', 'valid' are read as splits" in caplog.text
    assert problem_texts(problems) == ["test/2.jpg: is outside the class folders, so it has no label"]


def test_split_folders_only_if_nothing_else_lies_beside_them(tree):
    root = tree("train/cat/1.jpg", "test/dog/1.jpg", "extra/cow/1.jpg")
    with pytest.raises(DataError, match=r"'test', 'train' look like splits, but there is also 'extra'"):
        table(root)
    assert set(table(root, splits=False)[0].frame["label"]) == {"train", "test", "extra"}
    root = tree("test/1.jpg")
    (root / "train").rename(root / "bus")
    assert set(table(root)[0].frame["label"]) == {"test", "bus", "extra"}, "one such name is a class like any"


def test_one_split_under_two_names(tree):
    with pytest.raises(DataError, match="the same split under two names"):
        table(tree("train/a/1.jpg", "val/b/1.jpg", "valid/c/1.jpg"))


def test_no_images(tree, tmp_path):
    with pytest.raises(DataError, match="there is no such folder"):
        table(tmp_path / "nowhere")
    root = tree("notes.txt", "cat/1.cr2", "cat/2.cr2")
    with pytest.raises(DataError, match="not a folder"):
        table(root / "notes.txt")
    with pytest.raises(
        DataError, match=r"no images, only 1 folder and 3 files of other kinds \(.cr2 2, .txt 1\)"
    ):
        table(root)
    (tmp_path / "bare").mkdir()
    with pytest.raises(DataError, match="no images, only no files"):
        table(tmp_path / "bare")


def test_only_loose_images(tree):
    with pytest.raises(DataError, match="none of its 2 images is in a class folder"):
        table(tree("1.jpg", "2.jpg"))


def test_one_class(tree):
    with pytest.raises(
        DataError, match=r"contains only one class, 'cat' \(2 images\); at least two are needed$"
    ):
        table(tree("cat/1.jpg", "cat/2.jpg"))


def test_one_folder_too_high(tree):
    root = tree("all/cat/1.jpg", "all/dog/2.jpg")
    with pytest.raises(
        DataError, match=f"If the 2 folders below it are the classes.*source.root={root}/all$"
    ):
        table(root)


@pytest.mark.parametrize(
    ("first", "second", "level"),
    [
        ("Cat", "cat", 1),
        ("cat ", "cat", 1),
        ("caf\u00e9", "cafe\u0301", 1),
        ("straße", "STRASSE", 1),
        ("a/1", "b/1", 2),
    ],
    ids=["case", "space", "unicode form", "sharp s", "place"],
)
def test_identical_names(tree, first, second, level):
    root = tree(f"{first}/1.jpg", f"{second}/2.jpg", "x/dog/1.jpg")
    with pytest.raises(
        DataError, match=r"1 class name is used by several folders(.|\n)*2 folders with the same name"
    ):
        table(root, level=level)
    merged = table(root, level=level, names="merge")[0].frame["label"].n_unique()
    kept = table(root, level=level, names="keep")[0].frame["label"].n_unique()
    assert (merged, kept) == (2, 3)


def test_names_that_are_numbers_foreign_or_very_long(tree):
    long = "ж" * 127
    root = tree("007/1.jpg", "7/1.jpg", "日本 語/é ü.jpg", f"{long}/{'y' * 251}.jpg", ' x/a,"b"\n.jpg')
    found, _ = table(root)
    assert set(found.frame["label"]) == {"007", "7", "日本 語", long, "x"}
    assert all(found.file(row).is_file() for row in range(len(found)))


def test_a_name_that_is_no_text(tree):
    root = tree("cat/1.jpg", "dog/1.jpg")
    try:
        Path(os.fsdecode(os.fsencode(root / "cat") + b"/\xff\xfe.jpg")).touch()
    except OSError:
        pytest.skip("this file system takes only UTF-8")
    found, problems = table(root)
    assert len(found) == 2
    assert problem_texts(problems) == ["cat/\ufffd\ufffd.jpg: its name is not valid UTF-8: rename it"]


def test_links_are_followed_but_not_in_a_circle(tree, tmp_path, caplog):
    root = tree("cat/1.jpg", "dog/1.jpg")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "2.jpg").touch()
    (root / "fox").symlink_to(tmp_path / "elsewhere")
    (root / "dog" / "loop").symlink_to(root)
    found, problems = table(root)
    assert found.frame["path"].to_list() == ["cat/1.jpg", "dog/1.jpg", "fox/2.jpg"]
    assert problem_texts(problems) == ["dog/loop/: a linked folder that is already read under another path"]
    assert f"1 linked folder leads out of it, and is read anyway:\n  fox -> {tmp_path / 'elsewhere'}" in (
        caplog.text
    )


def test_links_inside_the_folder_need_no_warning(tree, caplog):
    root = tree("cat/1.jpg", "dog/1.jpg")
    (root / "alias").symlink_to(root / "cat")
    (root / "cat" / "more").symlink_to(root / "dog")
    found, problems = table(root)
    assert rows(found) == [("cat/1.jpg", "cat"), ("dog/1.jpg", "dog")], "the folder counts, not the link"
    again = "a linked folder that is already read under another path"
    assert problem_texts(problems) == [f"alias/: {again}", f"cat/more/: {again}"]
    assert "leads out" not in caplog.text


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read(tree):
    root = tree("cat/1.jpg", "dog/1.jpg", "fox/1.jpg")
    (root / "fox").chmod(0)
    try:
        assert "cannot be opened" in problem_texts(table(root)[1])[0]
    finally:
        (root / "fox").chmod(0o755)
