"""Patches: read and checked line by line, applied to a table, undone, and never in place."""

import json

import polars as pl
import pytest
from PIL import Image

from lookalike.cli.main import main
from lookalike.data.table import Table, read_table, write_table
from lookalike.errors import DataError
from lookalike.prepare.patch.changes import read_patch
from lookalike.prepare.patch.dataset import patch_dataset

WHO = {"author": "Ann", "note": "", "at": "2026-05-01T12:00:00.000Z"}


def relabel(path, label, to, **more):
    return {"do": "relabel", "path": path, "label": label, "to": to, **WHO, **more}


def drop(path, label, **more):
    return {"do": "drop", "path": path, "label": label, **WHO, **more}


def merge(labels, to, **more):
    return {"do": "merge", "from": labels, "to": to, **WHO, **more}


def different(path, label, other, other_label, **more):
    return {
        "do": "different",
        "path": path,
        "label": label,
        "other": other,
        "other_label": other_label,
        **WHO,
        **more,
    }


@pytest.fixture
def dataset(tmp_path):
    """cat/0 … cat/2, dog/0 … dog/2, fox/0, fox/1: train but for the foxes."""
    rows = [
        (f"{name}/{number}.png", name)
        for name, size in (("cat", 3), ("dog", 3), ("fox", 2))
        for number in range(size)
    ]
    for path, _ in rows:
        (tmp_path / "photos" / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(tmp_path / "photos" / path)
    paths, labels = zip(*rows, strict=True)
    split = ["test" if label == "fox" else "train" for label in labels]
    frame = pl.DataFrame({"path": paths, "label": labels, "split": split, "camera": range(8)})
    write_table(Table(frame, tmp_path / "photos"), tmp_path / "data", {"made_by": "a test"})
    return tmp_path / "data"


@pytest.fixture
def patch(tmp_path):
    def write(*changes, name="ann.jsonl", root="photos"):
        lines = [{"lookalike_patch": 1, "root": root}, *changes]
        (tmp_path / name).write_text("\n".join(map(json.dumps, lines)) + "\n", encoding="utf-8")
        return tmp_path / name

    return write


def labels_of(folder):
    table = read_table(folder)
    return {"/".join(table.file(row).parts[-2:]): label for row, label in enumerate(table.frame["label"])}


def apply_patch(dataset, *files, out="new", undo=False):
    out = dataset.parent / out
    return patch_dataset(read_table(dataset), files, out, {"made_by": "a test"}, undo)


def log_of(folder):
    return [json.loads(line) for line in (folder / "changes.jsonl").read_text().splitlines()]


def test_each_kind_of_change(dataset, patch):
    file = patch(
        relabel("cat/0.png", "cat", "lynx"),
        drop("dog/1.png", "dog"),
        merge(["fox", "dog"], "canine"),
        different("cat/1.png", "cat", "cat/2.png", "cat", note='tail, "striped"\nand not'),
    )
    before = (dataset / "table.parquet").read_bytes()
    out = apply_patch(dataset, file)
    assert labels_of(out) == {
        "cat/0.png": "lynx",
        "cat/1.png": "cat",
        "cat/2.png": "cat",
        "dog/0.png": "canine",
        "dog/2.png": "canine",
        "fox/0.png": "canine",
        "fox/1.png": "canine",
    }
    assert read_table(out).frame["camera"].to_list() == [0, 1, 2, 3, 5, 6, 7]
    pairs = pl.read_csv(out / "different.csv")
    assert [out.joinpath(path).resolve().name for path in pairs.row(0)[:2]] == ["1.png", "2.png"]
    assert pairs["same"].to_list() == [0] and pairs["author"].to_list() == ["Ann"]
    assert [event["what"] for event in log_of(out)] == ["applied"] * 4
    assert log_of(out)[1]["change"]["author"] == "Ann" and log_of(out)[1]["line"] == 3
    assert (dataset / "table.parquet").read_bytes() == before, "the old table is not touched"


def test_different_pairs_are_a_list_that_verification_reads(dataset, patch):
    from lookalike.data.pairs import read_pairs

    out = apply_patch(
        dataset, patch(different("cat/1.png", "cat", "dog/0.png", "dog", author="123", note='a\nb, "c"'))
    )
    (pair,) = read_pairs(out / "different.csv")
    assert not pair.same and pair.first.endswith("cat/1.png") and pair.second.endswith("dog/0.png")


def test_twice_is_once(dataset, patch):
    file = patch(relabel("cat/0.png", "cat", "lynx"), drop("dog/1.png", "dog"))
    once = apply_patch(dataset, file)
    twice = apply_patch(once, file, out="twice")
    assert read_table(twice).frame["label"].equals(read_table(once).frame["label"])
    assert len(log_of(twice)) == 2


def test_a_patch_that_grew_adds_only_what_is_new(dataset, patch):
    first = relabel("cat/0.png", "cat", "lynx")
    once = apply_patch(dataset, patch(first))
    out = apply_patch(
        once, patch(first, relabel("cat/0.png", "lynx", "puma"), name="later.jsonl"), out="later"
    )
    assert labels_of(out)["cat/0.png"] == "puma" and len(log_of(out)) == 2


def test_undo_gives_back_every_row_in_its_order(dataset, patch):
    one, two = (
        patch(drop("dog/0.png", "dog"), merge(["fox"], "cat")),
        patch(relabel("cat/1.png", "cat", "lynx"), name="bob.jsonl"),
    )
    both = apply_patch(dataset, one, two, out="both")
    back = apply_patch(both, one, out="back", undo=True)
    assert labels_of(back) == {**labels_of(dataset), "cat/1.png": "lynx"}
    assert [event["what"] for event in log_of(back)] == ["applied"] * 3 + ["undone"] * 2
    again = apply_patch(apply_patch(back, two, out="none", undo=True), one, out="again")
    assert labels_of(again) == labels_of(apply_patch(dataset, one, out="one"))
    first, last = read_table(dataset), read_table(dataset.parent / "none")
    assert last.frame.drop("path").equals(first.frame.drop("path"))


def test_a_table_that_was_edited_since_is_not_overwritten(dataset, patch):
    once = apply_patch(dataset, patch(relabel("cat/0.png", "cat", "lynx")))
    frame = pl.read_parquet(once / "table.parquet")
    frame.with_columns(camera=pl.col("camera") + 1).write_parquet(once / "table.parquet")
    with pytest.raises(DataError, match="modified in another way"):
        apply_patch(once, patch(drop("dog/0.png", "dog"), name="bob.jsonl"), out="later")
    (dataset / "original.parquet").write_text("somebody's own file")
    assert len(labels_of(apply_patch(dataset, patch(drop("dog/0.png", "dog")), out="fine"))) == 7


def test_a_class_that_is_now_in_two_splits_is_said(dataset, patch, caplog):
    apply_patch(dataset, patch(merge(["fox"], "dog")))
    assert "1 of the 1 identities of test are also in train" in caplog.text


def test_a_label_that_means_none_is_refused_by_row(dataset, patch):
    file = patch(drop("cat/0.png", "cat"), relabel("cat/1.png", "cat", " NaN"), merge(["dog"], "null"))
    with pytest.raises(DataError, match=r"(?s)row 3: ' NaN' usually means.*row 4: 'null'"):
        apply_patch(dataset, file)
    assert not (dataset.parent / "new").exists()


def test_undo_of_what_was_never_applied(dataset, patch):
    with pytest.raises(DataError, match=r"no change of ann\.jsonl is currently applied"):
        apply_patch(dataset, patch(drop("dog/0.png", "dog")), undo=True)


def test_undo_of_what_a_later_change_rests_on_is_refused(dataset, patch):
    one = patch(relabel("cat/0.png", "cat", "lynx"))
    both = apply_patch(dataset, one, patch(relabel("cat/0.png", "lynx", "puma"), name="bob.jsonl"))
    with pytest.raises(DataError, match=r"bob\.jsonl, row 2: cat/0\.png is labelled 'cat', not 'lynx'"):
        apply_patch(both, one, out="back", undo=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ([relabel("cat/9.png", "cat", "x")], r"ann\.jsonl, row 2: cat/9\.png: no such image in this table"),
        (
            [relabel("cat/0.png", "wolf", "x")],
            r"row 2: cat/0\.png is labelled 'cat', not 'wolf': .*another table",
        ),
        (
            [drop("cat/0.png", "cat"), relabel("cat/0.png", "cat", "x")],
            r"row 3: cat/0\.png was dropped \(Ann, ann\.jsonl line 2",
        ),
        (
            [relabel("cat/0.png", "cat", "x"), relabel("cat/0.png", "cat", "y")],
            r"row 3: cat/0\.png is labelled 'x', not 'cat': changed by Ann, ann\.jsonl line 2",
        ),
        ([merge(["wolf"], "dog")], r"row 2: no image has the label 'wolf'"),
        (
            [different("cat/0.png", "cat", "cat/0.png", "cat")],
            "row 2: an image cannot be different from itself",
        ),
        (
            [different("cat/0.png", "cat", "dog/0.png", "dog"), merge(["cat"], "dog")],
            r"row 2: cat/0\.png and dog/0\.png are marked .* both become 'dog' \(Ann, ann\.jsonl line 3",
        ),
        ([merge(["cat", "dog", "fox"], "animal")], "fewer than two classes"),
        ([relabel("0.png", "cat", "lynx")], r"row 2: 0\.png: 3 images of this table match"),
    ],
)
def test_what_does_not_fit_is_refused_by_row(dataset, patch, changes, message):
    with pytest.raises(DataError, match=message):
        apply_patch(dataset, patch(*changes))
    assert sorted(path.name for path in dataset.parent.iterdir()) == ["ann.jsonl", "data", "photos"]


def test_two_people_who_agree_do_not_conflict(dataset, patch):
    one = patch(relabel("cat/0.png", "cat", "lynx"), merge(["fox"], "dog"))
    two = patch(
        relabel("cat/0.png", "cat", "lynx", author="Bob"),
        merge(["fox"], "dog", author="Bob"),
        name="bob.jsonl",
    )
    assert labels_of(apply_patch(dataset, one, two))["cat/0.png"] == "lynx"


def test_the_root_tells_equal_names_apart(tmp_path, patch):
    rows = [f"{half}/cat/{number}.png" for half in ("old", "new") for number in range(2)]
    frame = pl.DataFrame({"path": rows, "label": ["a", "b", "c", "d"], "split": ["train"] * 4})
    table = Table(frame, tmp_path)
    out = patch_dataset(table, [patch(relabel("0.png", "c", "x"), root="new/cat")], tmp_path / "out", {})
    assert pl.read_parquet(out / "table.parquet")["label"].to_list() == ["a", "b", "x", "d"]


def test_a_box_says_which_part_is_meant(tmp_path, patch):
    frame = pl.DataFrame(
        {"path": ["a.png"] * 2 + ["b.png"], "label": [2**63, 1, 1], "split": ["train"] * 3},
        schema_overrides={"label": pl.UInt64},
    ).hstack(pl.DataFrame({"x1": [0, 5, None], "y1": [0, 5, None], "x2": [4, 9, None], "y2": [4, 9, None]}))
    table = Table(frame, tmp_path)
    big = str(2**63)
    file = patch(relabel("a.png", big, "7", box=[0, 0, 4.0, 4]), relabel("b.png", "1", str(2**64 - 1)))
    out = patch_dataset(table, [file], tmp_path / "out", {})
    assert pl.read_parquet(out / "table.parquet")["label"].to_list() == [7, 1, 2**64 - 1]
    for wrong in ("cat", "-1", str(2**64), "07"):
        with pytest.raises(DataError, match=r"row 2: .*whole numbers of 64 bits"):
            patch_dataset(table, [patch(relabel("b.png", "1", wrong))], tmp_path / "no", {})


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("nonsense", "is not JSON"),
        ("[]", '"do" must be one of'),
        ('{"do": "erase"}', '"do" must be one of'),
        (json.dumps({**drop("a", "b"), "author": " "}), "author must be text"),
        (json.dumps({key: value for key, value in drop("a", "b").items() if key != "at"}), "drop has no at"),
        (json.dumps({**drop("a", "b"), "at": "noon"}), "must be a time"),
        (json.dumps({**drop("a", "b"), "exec": 1}), "has exec, which is unknown"),
        (json.dumps(merge("cat", "dog")), "from must be a list"),
        (json.dumps(relabel("a", "cat", "cat")), "the image already has the label 'cat'"),
        (json.dumps(relabel("a", "cat", "\ud800")), "to must be text"),
        (json.dumps(relabel("a", "cat", "d\0g")), "to must be text"),
        (json.dumps(drop("a", "b", box=[1, 2, 3])), "box must be four numbers"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, line, reason):
    file = tmp_path / "p.jsonl"
    file.write_text(f'{{"lookalike_patch": 1, "root": ""}}\n\n{line}\n', encoding="utf-8")
    with pytest.raises(DataError, match=rf"p\.jsonl, row 3: .*{reason}"):
        read_patch(file)


def test_files_that_are_no_patch(tmp_path):
    for text, reason in (
        ("a,b\n1,2\n", "is not a patch"),
        ('{"lookalike_patch": 9}\n', "version 9"),
        ("", "not a patch"),
    ):
        (tmp_path / "p").write_text(text)
        with pytest.raises(DataError, match=reason):
            read_patch(tmp_path / "p")
    with pytest.raises(DataError, match="cannot be read"):
        read_patch(tmp_path / "none")


def test_from_the_command_line(dataset, patch, capsys):
    file, out = patch(relabel("cat/0.png", "cat", "lynx")), dataset.parent / "new"
    assert main(["prepare", f"patch={file}", f"dataset={dataset}", f"out={out}"]) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines()[-1] == str(out) and "1 change made" in captured.err
    back = dataset.parent / "back"
    assert main(["prepare", f"patch=[{file}]", f"dataset={out}", "undo=true", f"out={back}"]) == 0
    assert labels_of(back) == labels_of(dataset)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["patch=p.jsonl"], "needs dataset="),
        (["patch=p.jsonl", "dataset=d", "source=table"], "patch= replaces source="),
        (["patch=p.jsonl", "dataset=d", "source.root=x"], "patch= replaces source="),
        (["dataset=d", "source.root=x"], "is for patch="),
        (["undo=true", "source.root=x"], "is for patch="),
        ([], "prepare needs source.root="),
    ],
)
def test_keys_that_do_not_go_together(arguments, message, capsys):
    assert main(["prepare", "out=o", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_what_is_made_from_a_patched_dataset_keeps_its_pairs_and_says_where_to_undo(
    dataset, patch, tmp_path, caplog
):
    apart = different("cat/0.png", "lynx", "dog/0.png", "dog")
    gone = different("cat/1.png", "cat", "fox/0.png", "fox")
    file = patch(relabel("cat/0.png", "cat", "lynx"), apart, gone)
    once = apply_patch(dataset, file, out="once")
    (tmp_path / "drop.txt").write_text("fox\n")
    few = tmp_path / "sub" / "few"
    assert main(["prepare", "filter", f"dataset={once}", f"drop={tmp_path / 'drop.txt'}", f"out={few}"]) == 0
    assert f"{once}: its patches stay applied, and can be undone only there" in caplog.text
    assert "1 pair of different.csv left out" in caplog.text
    pairs = pl.read_csv(few / "different.csv")
    assert len(pairs) == 1 and set(pairs.select("path_a", "path_b").row(0)) <= set(
        read_table(few).frame["path"]
    )
    with pytest.raises(DataError, match=f"made from {once}: undo it there"):
        apply_patch(few, file, out="back", undo=True)
    later = apply_patch(
        few, patch(different("cat/2.png", "cat", "dog/1.png", "dog"), name="bob.jsonl"), out="l"
    )
    assert len(pl.read_csv(later / "different.csv")) == 2
    more = apply_patch(later, patch(relabel("dog/2.png", "dog", "wolf"), name="cy.jsonl"), out="m")
    assert len(pl.read_csv(more / "different.csv")) == 2
    undone = apply_patch(later, tmp_path / "bob.jsonl", out="n", undo=True)
    assert pl.read_csv(undone / "different.csv").equals(pairs)
