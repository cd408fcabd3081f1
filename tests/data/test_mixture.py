from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lookalike.data.mixture import Mixture, shares
from lookalike.data.samplers import PerClass, Shuffle


def epoch_of(sampler, epoch):
    sampler.set_epoch(epoch)
    return list(sampler)


def mixture(sizes, parts, make=Shuffle, per=1, seed=0):
    """Datasets one after the other in the table, each of classes of eight images."""
    begin = np.cumsum([0, *sizes])
    rows = [np.arange(low, high) for low, high in pairwise(begin)]
    samplers = [
        make(np.arange(len(each)) // 8, part, *([per] if per > 1 else []), seed=seed)
        for each, part in zip(rows, parts, strict=True)
    ]
    return Mixture(list(zip(rows, samplers, strict=True)), parts), begin


@settings(max_examples=100, deadline=None)
@given(
    weights=st.lists(st.floats(0.01, 100), min_size=1, max_size=5),
    size=st.integers(5, 200),
)
def test_shares_fill_the_batch_and_are_as_near_as_whole_numbers_can_be(weights, size):
    found = shares(weights, size)
    assert sum(found) == size
    assert min(found) >= 1
    exact = np.array(weights) / sum(weights) * size
    if exact.min() >= 1:
        assert np.abs(found - exact).max() < 1


@pytest.mark.parametrize(
    ("weights", "size", "found"),
    [
        ([2, 1], 24, [16, 8]),
        ([1, 1, 1], 64, [22, 21, 21]),
        ([1000, 1], 10, [9, 1]),
        ([1, 1e-9, 1e-9], 3, [1, 1, 1]),
    ],
)
def test_shares_by_hand(weights, size, found):
    assert shares(weights, size) == found


@pytest.mark.parametrize(
    ("weights", "size"), [([1, 0], 8), ([1, -2], 8), ([1, float("nan")], 8), ([1, 1, 1], 2)]
)
def test_shares_that_cannot_be_are_refused(weights, size):
    with pytest.raises(ValueError, match=r"weights must be above 0|do not fit"):
        shares(weights, size)


@pytest.mark.parametrize(("make", "per"), [(Shuffle, 1), (PerClass, 2)])
@pytest.mark.parametrize(
    ("sizes", "parts"), [((80, 400), (4, 2)), ((400, 80), (1, 5)), ((16 * 8, 16 * 8, 40), (2, 1, 1))]
)
def test_each_batch_holds_the_shares(make, per, sizes, parts):
    sampler, begin = mixture(sizes, parts, make, per)
    for epoch in (1, 2, 7):
        batches = epoch_of(sampler, epoch)
        assert len(batches) == len(sampler)
        for batch in batches:
            counts = np.histogram(batch, begin)[0]
            if make is PerClass:
                assert counts.tolist() == [part * per for part in parts]
            else:
                assert (np.array(parts) - counts <= 1).all()
                assert (counts <= parts).all()


def test_an_epoch_has_the_images_of_all_and_every_image_has_its_turn():
    sampler, begin = mixture((80, 400), (24, 8))
    shown = [np.concatenate(epoch_of(sampler, epoch)) for epoch in range(1, 13)]
    assert all(abs(len(rows) - 480) <= 32 for rows in shown)
    uses = np.bincount(np.concatenate(shown), minlength=480)
    assert uses[80:].min() >= 3
    assert np.ptp(uses[:80]) <= 1, "passes follow each other"
    assert np.ptp(uses[80:]) <= 2, "the first and the last pass are cut"
    assert begin.tolist() == [0, 80, 480]


def test_epochs_differ_resume_in_their_middle_and_follow_from_the_seed():
    make = lambda seed: mixture((80, 160), (3, 5), seed=seed)[0]  # noqa: E731
    whole = epoch_of(make(1), 4)
    assert whole == epoch_of(make(1), 4)
    assert whole != epoch_of(make(1), 5)
    assert whole != epoch_of(make(2), 4)
    sampler = make(1)
    sampler.set_epoch(4)
    sampler.load_state_dict(sampler.state_dict(9))
    assert list(sampler) == whole[9:]
