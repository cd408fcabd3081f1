from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lookalike.data.class_sizes import drop_small_classes, images_per_epoch
from lookalike.data.samplers import PerClass, Shuffle
from lookalike.data.table import Table
from lookalike.errors import DataError

SIZES = st.lists(st.integers(1, 30), min_size=2, max_size=15)
LIMITS = st.one_of(st.none(), st.integers(1, 40))


def labels_of(sizes, seed=0):
    return np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))


def shown_in(sampler, epoch):
    sampler.set_epoch(epoch)
    return [row for batch in sampler for row in batch]


def limits(draw_under, draw_over):
    return draw_under is None or draw_over is None or draw_over <= draw_under


@settings(max_examples=150, deadline=None)
@given(sizes=SIZES, under=LIMITS, over=LIMITS, epoch=st.integers(0, 9), seed=st.integers(0, 99))
def test_shuffle_shows_each_class_as_often_as_its_limits_say(sizes, under, over, epoch, seed):
    assume(limits(under, over))
    labels = labels_of(sizes, seed)
    sampler = Shuffle(labels, 7, under, over, seed)
    rows = shown_in(sampler, epoch)
    for label, size in enumerate(sizes):
        wanted = size if under is None else min(size, under)
        wanted = wanted if over is None else max(wanted, over)
        uses = Counter(row for row in rows if labels[row] == label)
        assert uses.total() == wanted
        every = [uses[row] for row in np.flatnonzero(labels == label).tolist()]
        assert max(every) - min(every) <= 1, "none is favoured"
    assert shown_in(Shuffle(labels, 7, under, over, seed), epoch) == rows, "seed and epoch alone decide"


@settings(max_examples=150, deadline=None)
@given(
    sizes=SIZES,
    under=LIMITS,
    over=LIMITS,
    p=st.integers(1, 5),
    k=st.integers(1, 5),
    epoch=st.integers(0, 9),
)
def test_per_class_deals_as_many_chunks_as_limits_say(sizes, under, over, p, k, epoch):
    assume(limits(under, over))
    assume(sum(size > 1 for size in sizes) >= p)
    labels = labels_of(sizes)
    sampler = PerClass(labels, p, k, undersample=under, oversample=over)
    rows = shown_in(sampler, epoch)
    assert shown_in(PerClass(labels, p, k, undersample=under, oversample=over), epoch) == rows
    classes = np.flatnonzero(np.array(sizes) > 1)
    for label, wanted, chunks in zip(classes, sampler.chunks_per_class, sampler.chunks, strict=True):
        expected = chunks
        if under is not None:
            expected = min(expected, max(1, under // k))
        if over is not None:
            expected = max(expected, -(-over // k))
            expected = expected if under is None else min(expected, max(1, under // k), wanted)
        assert wanted == expected
        uses = Counter(row for row in rows if labels[row] == label)
        dealt = min(wanted, len(sampler))
        assert uses.total() in (k * dealt, k * (dealt - 1))
    for batch in sampler:
        assert len(np.unique(labels[batch])) == p
        assert len(batch) == p * k


@pytest.mark.parametrize(
    "make",
    [
        lambda labels: Shuffle(labels, 8, undersample=6),
        lambda labels: PerClass(labels, 4, 2, undersample=6),
    ],
)
def test_a_limited_class_shows_all_its_images_in_time(make):
    labels = labels_of([40] * 4 + [6] * 4)
    sampler = make(labels)
    epochs = [set(shown_in(sampler, epoch)) for epoch in range(1, 60)]
    assert len(epochs[0]) < 60
    assert epochs[0] != epochs[1]
    assert len(set.union(*epochs)) == len(labels)


def test_a_small_class_is_repeated_evenly_over_the_epochs():
    labels = labels_of([30] * 6 + [3] * 6)
    sampler = PerClass(labels, 4, 3, oversample=12)
    uses = Counter(row for epoch in range(30) for row in shown_in(sampler, epoch))
    small = [uses[row] for row in np.flatnonzero(labels >= 6).tolist()]
    assert min(small) > 100
    assert max(small) - min(small) <= 30


def test_limits_that_cannot_be_are_refused():
    for arguments in ({"undersample": 0}, {"oversample": -1}):
        with pytest.raises(ValueError, match="must be at least 1"):
            Shuffle(np.zeros(4, int), **arguments)
    for make in (Shuffle, PerClass):
        with pytest.raises(ValueError, match="oversample=9 is more than undersample=5"):
            make(labels_of([4, 4]), undersample=5, oversample=9)
    assert images_per_epoch(np.array([1, 5, 200]), 100, 20).tolist() == [20, 20, 100]


def table_of(train, test=()):
    labels = [*train, *test]
    split = ["train"] * len(train) + ["test"] * len(test)
    paths = [f"{number}.png" for number in range(len(labels))]
    return Table(pl.DataFrame({"path": paths, "label": labels, "split": split}), Path("d"))


def test_small_classes_are_left_out_of_training_only():
    table, classes, images = drop_small_classes(table_of(["a"] * 5 + ["b"] * 2 + ["c"], ["c", "d"]), 3)
    assert (classes, images) == (2, 3)
    assert table.frame["label"].to_list() == ["a"] * 5 + ["c", "d"]
    with pytest.raises(DataError, match="min_per_class=6: no class has this many"):
        drop_small_classes(table, 6)
