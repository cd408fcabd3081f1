"""Ways to divide a table: what each promises, for any table."""

import logging
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lookalike.data.table import BOX, Table
from lookalike.errors import DataError
from lookalike.prepare.splits.assigned import count_images, split_again
from lookalike.prepare.splits.class_size import ClassSize
from lookalike.prepare.splits.classes import Classes
from lookalike.prepare.splits.frequency import Frequency
from lookalike.prepare.splits.images import Images
from lookalike.prepare.splits.kfold import KFold
from lookalike.prepare.splits.reference import Reference

class_sizes = st.lists(st.integers(1, 12), min_size=2, max_size=15).filter(lambda sizes: sum(sizes) >= 10)
seeds = st.integers(0, 1000)


def table_of(sizes, splits="train", **more):
    """Class 0 with `sizes[0]` images, and so on."""
    labels = [f"c{number}" for number, size in enumerate(sizes) for _ in range(size)]
    paths = [f"{label}/{row}.jpg" for row, label in enumerate(labels)]
    splits = [splits] * len(labels) if isinstance(splits, str) else splits
    return Table(pl.DataFrame({"path": paths, "label": labels, "split": splits, **more}), Path("/photos"))


def shuffle_table(table, random):
    order = list(range(len(table)))
    random.shuffle(order)
    return table.take(order)


def by_path(table, *columns):
    return dict(zip(table.frame["path"], table.frame.select(columns).iter_rows(), strict=True))


@settings(max_examples=80, deadline=None)
@given(class_sizes, st.integers(2, 6), seeds, st.randoms(use_true_random=False))
def test_folds_are_even_in_every_class_and_in_all(sizes, folds, seed, random):
    table = table_of(sizes)
    found = KFold(folds=folds, seed=seed)(table)
    each = found.frame.group_by("fold").len()["len"]
    assert sum(each) == len(table) and max(each) - min(each) <= 1
    for label in set(table.frame["label"]):
        inside = found.frame.filter(pl.col("label") == label)["fold"].to_list()
        share = [inside.count(fold) for fold in range(folds)]
        assert max(share) - min(share) <= 1
    assert set(found.frame.filter(pl.col("fold") == 0)["split"]) == {"test"}
    assert set(found.frame.filter(pl.col("fold") != 0)["split"]) == {"train"}
    again = KFold(folds=folds, fold=1, held_out="val", seed=seed)(shuffle_table(table, random))
    assert by_path(again, "fold") == by_path(found, "fold"), "neither the order nor the fold held out matters"
    assert set(again.frame.filter(pl.col("fold") == 1)["split"]) == {"val"}


def test_folds_agree_with_scikit_learn_in_what_they_hold():
    from sklearn.model_selection import StratifiedKFold

    table = table_of([5, 10, 23, 40])
    ours = KFold(folds=5, seed=3)(table).frame
    labels = table.labels
    for _, held in StratifiedKFold(5, shuffle=True, random_state=0).split(labels, labels):
        names, theirs = np.unique(labels[held], return_counts=True)
        for fold in range(5):
            mine = ours.filter(pl.col("fold") == fold)["label"].to_numpy()
            assert abs(np.array([(mine == name).sum() for name in names]) - theirs).max() <= 1


def test_images_and_classes_may_be_for_training_or_testing_only(tmp_path, caplog):
    table = table_of([4, 4, 4, 4])
    (tmp_path / "train.txt").write_text("c0\nc1/4.jpg\n\nnobody\n")
    (tmp_path / "test.csv").write_text("label,why\nc3,hard\n")
    split = KFold(folds=2, fold=1, train_only=tmp_path / "train.txt", test_only=tmp_path / "test.csv", seed=1)
    with caplog.at_level(logging.INFO, "lookalike"):
        found = by_path(split(table), "fold", "split")
    assert {found[f"c0/{row}.jpg"] for row in range(4)} == {(-1, "train")}
    assert found["c1/4.jpg"] == (-1, "train")
    assert {found[f"c3/{row}.jpg"] for row in range(12, 16)} == {(-2, "test")}
    rest = [fold for fold, _ in found.values() if fold >= 0]
    assert sorted(rest) == [0] * 4 + [1] * 3 or sorted(rest) == [0] * 3 + [1] * 4
    assert "train.txt, row 3: 'nobody' is not a label or path in the table" in caplog.text
    for line in ("train only: 5 images of 2 classes", "test only: 4 images of 1 class", "fold 0: "):
        assert line in caplog.text
    (tmp_path / "test.csv").write_text("path\nc0/0.jpg\n")
    with pytest.raises(DataError, match=r"1 image is in train_only and in test_only.*c0/0\.jpg"):
        split(table)
    with pytest.raises(DataError, match="16 images for 99 folds: too few"):
        KFold(folds=99)(table)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: KFold(folds=3, fold=3), "fold=3: must be from 0 to 2 with 3 folds"),
        (lambda: KFold(train_only=Path("nowhere.txt")), "train_only=nowhere.txt: there is no such file"),
        (lambda: ClassSize(smallest=9, largest=8), "smallest=9 is more than largest=8"),
        (lambda: Frequency(val=0.6, test=0.6), "add up to more than 1"),
        (lambda: Classes(val=-0.1), "must be a share"),
        (lambda: Images(test=2.0), "must be a share"),
    ],
)
def test_wrong_values_are_refused_before_any_work(make, said):
    with pytest.raises(ValueError, match=said):
        make()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 4), min_size=5, max_size=60).filter(lambda sizes: max(sizes) > 1),
    st.integers(1, 12),
    seeds,
    st.randoms(use_true_random=False),
)
def test_every_frequency_gives_the_same_share(sizes, least, seed, random):
    table = table_of(sizes)
    split = Frequency(val=0.2, test=0.3, min_classes=least, seed=seed)
    found = split(table)
    assert by_path(split(shuffle_table(table, random)), "split") == by_path(found, "split")
    owner = found.frame.group_by("label").agg(pl.col("split").unique(), size=pl.len())
    assert owner["split"].list.len().max() == 1, "no class is in two splits"
    for size in set(sizes):
        splits = owner.filter(pl.col("size") == size)["split"].list.first().to_list()
        if size == 1 or len(splits) < least:
            assert set(splits) == {"train"}
        else:
            assert splits.count("test") == int(0.3 * len(splits) + 0.5)
            assert splits.count("val") == int(0.2 * len(splits) + 0.5)


def test_classes_of_a_usual_size_are_trained_on():
    found = ClassSize(smallest=3, largest=5, held_out="val")(table_of([1, 2, 3, 4, 5, 6, 60]))
    splits = dict(found.frame.select("label", "split").unique().iter_rows())
    assert [splits[f"c{number}"] for number in range(7)] == ["val"] * 2 + ["train"] * 3 + ["val"] * 2
    with pytest.raises(DataError, match=r"none of the 2 classes has 3 to 50 images.* They have 1 to 2"):
        ClassSize()(table_of([1, 2]))
    with pytest.raises(DataError, match="each of the 2 classes has 3 to 50 images"):
        ClassSize()(table_of([3, 50]))


@settings(max_examples=60, deadline=None)
@given(class_sizes, st.integers(1, 5), st.sampled_from(["first", "random"]), seeds)
def test_references_are_a_few_of_each_class(sizes, references, choose, seed):
    found = Reference(references, choose, seed)(table_of(sizes, splits="val")).frame
    for number, size in enumerate(sizes):
        roles = found.filter(pl.col("label") == f"c{number}")["role"].to_list()
        assert roles.count("gallery") == min(size, references)
        assert roles.count("query") == max(0, size - references)
        if choose == "first":
            assert roles == sorted(roles), "the gallery comes first"
    assert set(found["split"]) == {"val"}, "the split stays"


def test_distractors_stay_and_a_table_without_a_split_is_for_testing(caplog):
    table = table_of([3, 3, 1], role=["gallery"] * 6 + ["distractor"])
    table = Table(table.frame.drop("split"), table.folder)
    found = Reference(2)(table).frame
    assert found["role"].to_list() == ["gallery", "gallery", "query"] * 2 + ["distractor"]
    assert set(found["split"]) == {"test"}
    Reference(3)(table)
    assert "2 classes have no more than references=3 images, so no query" in caplog.text


@settings(max_examples=40, deadline=None)
@given(class_sizes, seeds, st.data())
def test_only_some_splits_are_divided(sizes, seed, data):
    count = sum(sizes)
    splits = data.draw(st.lists(st.sampled_from(["train", "test"]), min_size=count, max_size=count))
    splits[:8] = ["train"] * 8
    table = table_of(sizes, splits)
    found = split_again(table, KFold(folds=2, held_out="val", seed=seed), ["train"])
    assert found.frame["path"].to_list() == table.frame["path"].to_list(), "rows keep their order"
    for before, after, fold in zip(splits, found.frame["split"], found.frame["fold"], strict=True):
        assert (
            (after, fold) == ("test", None)
            if before == "test"
            else after == ("val" if fold == 0 else "train")
        )
    said = count_images(found)
    assert said["images"].sum() == count
    assert said["split"].to_list() == sorted(said["split"], key=["train", "val", "test"].index)


def test_a_split_that_is_not_there_cannot_be_divided():
    with pytest.raises(DataError, match=r"no images in split val; there are train \(6 images\)"):
        split_again(table_of([3, 3]), Images(), ["val"])
    for split in (Classes(), Images(), Frequency()):
        with pytest.raises(DataError, match="each of the 3 classes has a single image"):
            split(table_of([1, 1, 1]))


@pytest.mark.parametrize(
    "split", [KFold(folds=3), Images(0.25, 0.25), Reference(references=2, choose="random")], ids=repr
)
def test_where_a_table_and_its_images_lie_has_no_say(split):
    table = table_of([5, 4, 3])
    wanted = split(table).frame.drop("path")
    for paths, folder in (
        ([f"../../photos/{path}" for path in table.frame["path"]], "/data/mine"),
        ([f"/other/disk/{path}" for path in table.frame["path"]], "/data/mine"),
        ([f"shard-{row % 2}.tar/@512+9/{path}" for row, path in enumerate(table.frame["path"])], "/shards"),
    ):
        moved = Table(table.frame.with_columns(path=pl.Series(paths)), Path(folder))
        assert split(moved).frame.drop("path").equals(wanted)


def test_boxes_of_another_type_are_the_same_boxes():
    boxes = {name: [number] * 9 for name, number in zip(BOX, (0, 0, 9, 9), strict=True)}
    table = table_of([5, 4], **boxes)
    floats = Table(table.frame.with_columns(pl.col(BOX).cast(pl.Float32)), table.folder)
    assert by_path(KFold()(floats), "fold") == by_path(KFold()(table), "fold")
