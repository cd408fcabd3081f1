from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from lookalike.data.samplers import PerClass, Shuffle

SIZES = st.lists(st.integers(1, 30), min_size=2, max_size=25)


def labels_of(sizes, seed=0):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    return np.random.default_rng(seed).permutation(labels)


def epoch_of(sampler, epoch):
    sampler.set_epoch(epoch)
    return list(sampler)


@st.composite
def per_class(draw):
    sizes = draw(SIZES)
    shown = sum(size > 1 for size in sizes)
    assume(shown)
    labels = labels_of(sizes, draw(st.integers(0, 99)))
    return PerClass(
        labels, draw(st.integers(1, shown)), draw(st.integers(1, 6)), seed=draw(st.integers(0, 2**40))
    )


@settings(max_examples=200, deadline=None)
@given(sampler=per_class(), epoch=st.integers(0, 50))
def test_each_batch_is_p_classes_of_k_images(sampler, epoch):
    batches = epoch_of(sampler, epoch)
    assert len(batches) == len(sampler) > 0
    for batch in batches:
        assert len(batch) == sampler.classes_per_batch * sampler.samples_per_class
        assert all(type(row) is int for row in batch)
        classes, counts = np.unique(sampler.labels[batch], return_counts=True)
        assert len(classes) == sampler.classes_per_batch
        assert (counts == sampler.samples_per_class).all()


@settings(max_examples=200, deadline=None)
@given(sampler=per_class(), epoch=st.integers(0, 50))
def test_no_image_twice_in_a_batch_unless_its_class_is_smaller_than_k(sampler, epoch):
    sizes = np.bincount(sampler.labels)
    for batch in epoch_of(sampler, epoch):
        rows, counts = np.unique(batch, return_counts=True)
        small = sizes[sampler.labels[rows]] < sampler.samples_per_class
        assert (counts[~small] == 1).all()
        assert (counts[small] <= -(-sampler.samples_per_class // sizes[sampler.labels[rows]][small])).all()


@settings(max_examples=200, deadline=None)
@given(sampler=per_class(), epoch=st.integers(0, 20))
def test_an_epoch_shows_each_image_once_or_twice_but_for_few_that_wait(sampler, epoch):
    """Twice to fill up a short chunk. Classes with more chunks than there are batches are another matter."""
    seen = np.bincount(np.concatenate(epoch_of(sampler, epoch)), minlength=len(sampler.labels))
    sizes = np.bincount(sampler.labels)[sampler.labels]
    chunks = -(-sizes // sampler.samples_per_class)
    assert (seen[sizes == 1] == 0).all()
    complete = (sizes > 1) & (chunks <= len(sampler))
    waiting = (sampler.classes_per_batch - 1) * sampler.samples_per_class
    assert np.count_nonzero(seen[complete] == 0) <= waiting
    assert (seen[complete & (sizes >= sampler.samples_per_class)] <= 2).all()


@settings(max_examples=50, deadline=None)
@given(sizes=SIZES, p=st.integers(1, 5), k=st.integers(1, 5))
def test_every_image_comes_in_its_time_and_none_is_favoured(sizes, p, k):
    assume(sum(size > 1 for size in sizes) >= p)
    sampler = PerClass(labels_of(sizes), p, k)
    passes = -(-sampler.chunks // np.maximum(1, np.minimum(sampler.chunks, len(sampler)) - 1))
    rows = [row for epoch in range(2 * passes.max() + 2) for row in np.concatenate(epoch_of(sampler, epoch))]
    seen = np.bincount(rows, minlength=len(sampler.labels))
    assert (seen[np.bincount(sampler.labels)[sampler.labels] > 1] > 0).all()


@settings(max_examples=100, deadline=None)
@given(
    count=st.integers(2, 12),
    chunks=st.integers(1, 4),
    k=st.integers(1, 5),
    p=st.integers(1, 12),
    epoch=st.integers(0, 9),
)
def test_equal_classes_that_fill_their_batches_are_seen_exactly_once(count, chunks, k, p, epoch):
    assume(count % p == 0 and chunks * k > 1)
    sampler = PerClass(labels_of([chunks * k] * count), p, k)
    assert sampler.num_waiting == sampler.left_out == 0
    assert sorted(np.concatenate(epoch_of(sampler, epoch)).tolist()) == list(range(count * chunks * k))


@settings(max_examples=60, deadline=None)
@given(sampler=per_class())
def test_as_many_batches_as_can_be_dealt(sampler):
    """One more batch is impossible: it would need more chunks of different classes than there are."""
    more = len(sampler) + 1
    assert np.minimum(sampler.chunks, more).sum() < sampler.classes_per_batch * more


@pytest.mark.parametrize("sizes", [[4] * 19, [8, 8, 8, 8, 8], [100, 2, 2, 2], [50, 40, 4, 3, 2, 2, 9]])
def test_what_waits_comes_in_the_next_epochs(sizes):
    sampler = PerClass(labels_of(sizes), 3, 4)
    per_epoch = [set(np.concatenate(epoch_of(sampler, epoch)).tolist()) for epoch in range(40)]
    assert len(set.union(*per_epoch)) == sum(sizes), "every image comes"
    if sampler.num_waiting < 3 and len(sizes) >= 2 * sampler.num_waiting:
        for one, two in pairwise(per_epoch):
            assert len(one | two) == sum(sizes), "none waits twice running"


def test_a_class_with_far_too_many_images_is_worked_through():
    sizes = [1000] + [4] * 8
    sampler = PerClass(labels_of(sizes), 3, 4)
    assert len(sampler) == 4
    big = np.flatnonzero(sampler.labels == 0)
    shown = [row for epoch in range(62) for row in np.concatenate(epoch_of(sampler, epoch)) if row in big]
    assert len(shown) == 62 * 4 * 4
    assert len(set(shown)) > 900, "few again before the rest had its turn"


@settings(max_examples=60, deadline=None)
@given(sampler=per_class(), epoch=st.integers(0, 9))
def test_the_same_seed_gives_the_same_batches_whatever_came_before(sampler, epoch):
    first = epoch_of(sampler, epoch)
    epoch_of(sampler, epoch + 3)
    assert epoch_of(sampler, epoch) == first
    p, k = sampler.classes_per_batch, sampler.samples_per_class
    assert epoch_of(PerClass(sampler.labels, p, k, seed=sampler.seed), epoch) == first


@pytest.mark.parametrize("make", [lambda y, s: PerClass(y, 4, 2, seed=s), lambda y, s: Shuffle(y, 8, seed=s)])
def test_epochs_and_seeds_differ(make):
    labels = labels_of([6] * 10)
    epochs = [epoch_of(make(labels, seed), epoch) for seed in (0, 1) for epoch in range(4)]
    assert len({str(batches) for batches in epochs}) == 8


def test_partners_change_from_epoch_to_epoch():
    """Each two images of a class, and each two classes, meet sooner or later: nothing is tied together."""
    sampler = PerClass(labels_of([6] * 12), 4, 3)
    images, classes = set(), set()
    for epoch in range(60):
        for batch in epoch_of(sampler, epoch):
            for start in range(0, 12, 3):
                images |= {(a, b) for a in batch[start : start + 3] for b in batch[start : start + 3]}
            present = sampler.labels[batch].tolist()
            classes |= {(a, b) for a in present for b in present}
    assert len(images) == 12 * 36
    assert len(classes) == 144


@settings(max_examples=60, deadline=None)
@given(sampler=per_class(), epoch=st.integers(0, 9), data=st.data())
def test_an_epoch_resumes_in_its_middle(sampler, epoch, data):
    whole = epoch_of(sampler, epoch)
    done = data.draw(st.integers(0, len(whole)))
    walk = iter(sampler)
    for _ in range(done):
        next(walk)
    state = sampler.state_dict()
    assert state["position"] == done

    other = PerClass(sampler.labels, sampler.classes_per_batch, sampler.samples_per_class, seed=sampler.seed)
    other.load_state_dict(state)
    other.set_epoch(epoch)
    assert list(other) == whole[done:]
    assert list(other) == whole, "only once"
    assert epoch_of(other, epoch + 1) == epoch_of(sampler, epoch + 1)


def test_the_loop_may_say_how_far_it_got_itself():
    sampler = PerClass(labels_of([6] * 10), 4, 2)
    whole = epoch_of(sampler, 2)
    state = sampler.state_dict(done=3)
    sampler.load_state_dict(state)
    assert list(sampler) == whole[3:]
    sampler.load_state_dict(state)
    sampler.set_epoch(3)
    assert len(list(sampler)) == len(whole), "another epoch starts at its start"


def test_a_state_of_something_else_is_refused():
    state = PerClass(labels_of([6] * 10), 4, 2).state_dict()
    for other in (PerClass(labels_of([6] * 40), 4, 2), PerClass(labels_of([6] * 10), 4, 2, seed=1)):
        with pytest.raises(ValueError, match="must be equal to resume"):
            other.load_state_dict(state)


def test_lonely_images_are_left_out_and_counted_or_repeated():
    labels = np.array([0, 0, 1, 2, 2, 2, -1])
    sampler = PerClass(labels, 2, 2)
    assert sampler.left_out == 2
    assert 2 not in np.concatenate(epoch_of(sampler, 0))
    sampler = PerClass(labels, 3, 2, lonely=True)
    assert sampler.left_out == 1
    batch = epoch_of(sampler, 0)[0]
    assert batch.count(2) == 2
    assert 6 not in batch


def test_fewer_classes_than_asked_make_smaller_batches(caplog):
    sampler = PerClass(np.array([0, 0, 0, 1, 1, 1, 2]), classes_per_batch=3, samples_per_class=2)
    assert all(len(set(batch)) == 4 for batch in sampler)
    assert "batches show all 2" in caplog.text


def test_no_class_with_a_pair_is_an_error_that_says_what_to_do():
    with pytest.raises(ValueError, match="all 3 images are the only one of their class"):
        PerClass(np.array([0, 1, 2]), classes_per_batch=3, samples_per_class=2)


@pytest.mark.parametrize("arguments", [(0, 2), (2, 0), (-1, 4)])
def test_sizes_below_one_are_refused(arguments):
    with pytest.raises(ValueError, match="above 0"):
        PerClass(labels_of([4, 4]), *arguments)


def test_class_ids_may_be_any_numbers():
    labels = np.array([2**40, 7, 7, 2**40, 99, 99])
    for batch in epoch_of(PerClass(labels, 2, 2), 0):
        assert len({labels[row] for row in batch}) == 2


def test_a_loader_goes_through_the_batches():
    sampler = PerClass(labels_of([5] * 9), 3, 2)
    loader = DataLoader(np.arange(45), batch_sampler=sampler, collate_fn=list)
    assert [list(batch) for batch in loader] == list(sampler)
    assert len(loader) == len(sampler)


@settings(max_examples=100, deadline=None)
@given(
    count=st.integers(1, 300), size=st.integers(1, 100), unknown=st.integers(0, 9), epoch=st.integers(0, 9)
)
def test_shuffle_shows_each_image_once_in_even_batches(count, size, unknown, epoch):
    labels = np.array([3] * count + [-1] * unknown)
    sampler = Shuffle(labels, size)
    batches = epoch_of(sampler, epoch)
    assert len(batches) == len(sampler)
    assert sampler.left_out == unknown
    assert sorted(row for batch in batches for row in batch) == list(range(count))
    lengths = [len(batch) for batch in batches]
    assert max(lengths) <= size
    assert max(lengths) - min(lengths) <= 1


def test_shuffle_resumes_too():
    sampler = Shuffle(np.zeros(50, int), 8)
    whole = epoch_of(sampler, 4)
    sampler.load_state_dict(sampler.state_dict(done=2))
    sampler.set_epoch(4)
    assert list(sampler) == whole[2:]


def test_shuffle_refuses_nothing_at_all():
    with pytest.raises(ValueError, match="above 0"):
        Shuffle(np.array([-1]))
    with pytest.raises(ValueError, match="above 0"):
        Shuffle(np.zeros(4, int), 0)


def test_many_images_take_little_time_and_memory():
    labels = np.random.default_rng(0).integers(0, 20_000, 200_000)
    sampler = PerClass(labels, 16, 4)
    batches = epoch_of(sampler, 1)
    assert len(np.unique(np.concatenate(batches))) > 199_000
