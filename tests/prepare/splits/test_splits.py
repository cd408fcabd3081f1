import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lookalike.prepare.splits.shares import class_disjoint, within_class

rows = st.lists(st.sampled_from("abcdefghijklmnop"), min_size=1, max_size=80)
shares = st.tuples(st.floats(0, 0.5), st.floats(0, 0.5))
seeds = st.integers(0, 1000)
ALMOST = 1 - 1e-9


def groups(labels, splits):
    return {name: set(np.asarray(labels)[splits == name].tolist()) for name in ("train", "val", "test")}


@settings(max_examples=200, deadline=None)
@given(rows, shares, seeds, st.randoms(use_true_random=False))
def test_identities_are_disjoint_seeded_and_row_order_does_not_matter(labels, both, seed, random):
    labels = np.array(labels)
    val, test = both
    splits = class_disjoint(labels, val, test, seed)
    by_name = groups(labels, splits)
    assert sum(map(len, by_name.values())) == len(set(labels.tolist()))
    assert (splits == class_disjoint(labels, val, test, seed)).all()
    order = list(range(len(labels)))
    random.shuffle(order)
    assert (class_disjoint(labels[order], val, test, seed) == splits[order]).all()
    counts = {label: int((labels == label).sum()) for label in set(labels.tolist())}
    if val + test < ALMOST:
        assert all(counts[label] > 1 for name in ("val", "test") for label in by_name[name])
        assert all(len(by_name[name]) != 1 for name in ("val", "test")), "one identity proves nothing"
        if by_name["val"] or by_name["test"]:
            assert sum(counts[label] > 1 for label in by_name["train"]) >= 2


@settings(max_examples=60, deadline=None)
@given(st.integers(20, 300), st.sampled_from([(0.1, 0.2), (0, 0.5), (0.3, 0), (0.25, 0.25)]), seeds)
def test_shares_are_of_identities(count, both, seed):
    labels = np.repeat(np.arange(count), 2)
    val, test = both
    by_name = groups(labels, class_disjoint(labels, val, test, seed))
    assert abs(len(by_name["val"]) - val * count) <= 0.5
    assert abs(len(by_name["test"]) - test * count) <= 0.5


@pytest.mark.parametrize(
    ("count", "train", "val", "test"),
    [(2, 2, 0, 0), (3, 3, 0, 0), (4, 2, 0, 2), (5, 3, 0, 2), (6, 2, 2, 2), (10, 6, 2, 2), (20, 14, 2, 4)],
)
def test_few_classes(count, train, val, test, caplog):
    labels = np.repeat(np.arange(count), 3)
    by_name = groups(labels, class_disjoint(labels))
    assert tuple(len(by_name[name]) for name in ("train", "val", "test")) == (train, val, test)
    assert ("split=images" in caplog.text) == (test == 0)
    assert ("so val " in caplog.text) == (val == 0)


def test_single_images_stay_in_train(caplog):
    caplog.set_level("INFO")
    labels = np.array([f"one {n}" for n in range(50)] + [f"two {n % 10}" for n in range(20)])
    by_name = groups(labels, class_disjoint(labels, 0.2, 0.2))
    assert len(by_name["val"]) == len(by_name["test"]) == 2
    assert "50 classes have a single image" in caplog.text


def test_all_of_it_for_test():
    labels = np.array(["a", "a", "b", "c"])
    assert set(class_disjoint(labels, 0, 1)) == {"test"}
    assert set(class_disjoint(labels, 1, 0)) == {"val"}
    assert set(class_disjoint(labels, 0, 0)) == {"train"}
    assert set(within_class(labels, "wxyz", 0, 1)) == {"test"}


def test_seeds_differ_and_numbers_sort_like_their_text():
    labels = np.repeat(np.arange(100), 2)
    first = class_disjoint(labels, seed=0)
    assert (first != class_disjoint(labels, seed=1)).any()
    assert (first == class_disjoint(labels.astype(str), seed=0)).all()
    assert (first == class_disjoint(labels.astype(str).astype(object), seed=0)).all()


def test_a_split_never_changes_between_versions():
    labels = np.repeat(np.array(list("abcdefghij")), 2)
    by_name = groups(labels, class_disjoint(labels, seed=0))
    assert (by_name["val"], by_name["test"]) == ({"c", "f"}, {"e", "h"})


@settings(max_examples=100, deadline=None)
@given(rows, shares, seeds, st.randoms(use_true_random=False))
def test_images_of_each_identity_divided(labels, both, seed, random):
    labels, paths = np.array(labels), [f"{row}.jpg" for row in range(len(labels))]
    splits = within_class(labels, paths, *both, seed)
    order = list(range(len(labels)))
    random.shuffle(order)
    again = within_class(labels[order], [paths[row] for row in order], *both, seed)
    assert (again == splits[order]).all()
    if sum(both) < ALMOST:
        for label in set(labels.tolist()):
            mine = splits[labels == label]
            assert (mine == "train").sum() >= min(2, len(mine))
            assert (mine == "val").sum() != 1 != (mine == "test").sum()


@pytest.mark.parametrize("both", [(-0.1, 0.2), (0.2, 1.1), (0.6, 0.6), (float("nan"), 0)])
def test_shares_that_are_none(both):
    for split in (
        lambda: class_disjoint(np.arange(4), *both),
        lambda: within_class(np.arange(4), "abcd", *both),
    ):
        with pytest.raises(ValueError, match=r"share|add up"):
            split()


@pytest.mark.parametrize("sizes", [[4] * 60, [5] * 40, [4, 6, 9, 3, 2, 1, 12] * 9, [30] * 8, [300] * 3])
@pytest.mark.parametrize("seed", [0, 1])
def test_shares_of_images_are_right_over_the_whole_set(sizes, seed, caplog):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    splits = within_class(labels, [str(row) for row in range(len(labels))], 0.1, 0.2, seed)
    for name, share in {"val": 0.1, "test": 0.2}.items():
        assert abs((splits == name).mean() - share) <= 0.02 + 2 / len(labels), name
    for label in range(len(sizes)):
        counts = {name: int((splits[labels == label] == name).sum()) for name in ("train", "val", "test")}
        assert counts["train"] >= min(2, sizes[label])
        assert counts["val"] != 1
        assert counts["test"] != 1
    assert "instead of" not in caplog.text


def test_small_classes_that_cannot_give_their_share_are_said(caplog):
    labels = np.repeat(np.arange(30), [3] * 28 + [8] * 2)
    splits = within_class(labels, [str(row) for row in range(len(labels))], 0.1, 0.2, 0)
    assert (splits[labels < 28] == "train").all()
    assert "instead of 20 %" in caplog.text
    assert "28 classes with fewer than 4 images give it none" in caplog.text
    assert (splits == "test").sum() <= 8, "large classes do not pay for small ones without a limit"


def test_nothing_for_train_leaves_no_single_images():
    labels = np.repeat(np.arange(20), 5)
    splits = within_class(labels, [str(row) for row in range(100)], 0.3, 0.7, 0)
    assert set(splits) == {"val", "test"}
    assert abs((splits == "val").mean() - 0.3) <= 0.04
