from collections import Counter

import numpy as np
import pytest
import torch

from lookalike.errors import LookalikeError
from lookalike.training.hard_negatives import HardNegatives, TripletPool

SIZES = [6] * 8 + [1, 2, 15]


def labels_of(sizes, seed=0):
    return np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))


class Images:
    """Stands for a model that embeds images: fixed vectors, rows that cannot be read, and a diary."""

    def __init__(self, labels, unreadable=(), seed=0):
        vectors = np.random.default_rng(seed).normal(size=(len(labels), 6)).astype(np.float32)
        self.vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        self.unreadable, self.asked = set(unreadable), []

    def __call__(self, rows):
        self.asked.append(rows.tolist())
        for part in np.array_split(rows, 3):
            read = np.array([row not in self.unreadable for row in part.tolist()], bool)
            yield part, read, self.vectors[part[read]]


def hard(labels, images, **more):
    sampler = HardNegatives(labels, **{"triplets_per_batch": 4, "hard_from": 1, **more})
    assert sampler.end_epoch(0, {}, images)
    return sampler


def triplets(sampler, epoch):
    sampler.set_epoch(epoch)
    return np.concatenate(list(sampler)).reshape(-1, 3)


@pytest.mark.parametrize(
    "make",
    [
        lambda labels: HardNegatives(labels, triplets_per_batch=4),
        lambda labels: hard(labels, Images(labels), candidates=5),
        lambda labels: hard(labels, Images(labels), candidates=None),
    ],
)
def test_triplets_are_an_image_another_of_its_class_and_one_of_another(make):
    labels = np.concatenate([labels_of(SIZES), [-1, -1]])
    sampler = make(labels)
    for epoch in range(1, 4):
        found = triplets(sampler, epoch)
        assert len(found) == 4 * len(sampler) == 64
        a, p, n = found.T
        assert (labels[a] == labels[p]).all()
        assert (a != p).all()
        assert (labels[a] != labels[n]).all()
        assert (labels[found] >= 0).all()
    assert all(type(row) is int for batch in sampler for row in batch)


def test_each_image_with_a_partner_is_an_anchor_once_a_pass():
    labels = labels_of(SIZES)
    sampler = HardNegatives(labels, triplets_per_batch=10)
    assert len(sampler) == 6
    anchors = np.concatenate([triplets(sampler, epoch)[:, 0] for epoch in range(13)])
    sizes = np.array(SIZES)[labels]
    uses = np.bincount(anchors, minlength=len(labels))
    assert (uses[sizes == 1] == 0).all()
    assert np.ptp(uses[sizes > 1]) <= 1


@pytest.mark.parametrize("per_epoch", [1, 30, 500])
def test_an_epoch_may_have_any_number_of_triplets(per_epoch):
    sampler = HardNegatives(labels_of(SIZES), triplets_per_batch=10, triplets_per_epoch=per_epoch)
    assert len(triplets(sampler, 1)) == {1: 1, 30: 30, 500: 500}[per_epoch]


def test_positives_and_random_negatives_are_uniform():
    labels = np.repeat([0, 1, 2], [4, 5, 3])
    pool = TripletPool(labels, np.ones(12, bool))
    rng, anchor = np.random.default_rng(0), np.full(20_000, 5)
    positives = np.bincount(pool.sample_positives(anchor, rng), minlength=12)
    negatives = np.bincount(pool.sample_negatives(anchor, 2, rng).ravel(), minlength=12)
    assert positives[[0, 1, 2, 3, 5, 9, 10, 11]].sum() == 0
    assert positives[[4, 6, 7, 8]] == pytest.approx(5000, rel=0.05)
    assert negatives[4:9].sum() == 0
    assert negatives[[0, 1, 2, 3, 9, 10, 11]] == pytest.approx(40_000 / 7, rel=0.05)


def test_exact_negatives_are_the_nearest_of_all_other_classes():
    labels = labels_of(SIZES)
    images = Images(labels)
    sampler = hard(labels, images, candidates=None)
    for anchor, _, negative in triplets(sampler, 3).tolist():
        sims = images.vectors.astype(np.float64) @ images.vectors[anchor].astype(np.float64)
        sims[labels == labels[anchor]] = -9
        assert sims[negative] == pytest.approx(sims.max(), abs=1e-6)


def test_a_negative_is_the_nearest_of_its_candidates(monkeypatch):
    labels = labels_of(SIZES)
    images = Images(labels)
    sampler = hard(labels, images, candidates=5)
    drawn, others = [], TripletPool.sample_negatives
    monkeypatch.setattr(TripletPool, "sample_negatives", lambda *a: drawn.append(others(*a)) or drawn[-1])
    monkeypatch.setattr("lookalike.training.hard_negatives.BLOCK", 100)
    found = triplets(sampler, 2)
    assert len(drawn) > 3, "in several blocks"
    rows = TripletPool(labels, np.ones(len(labels), bool)).rows
    for (anchor, _, negative), places in zip(found.tolist(), np.concatenate(drawn), strict=True):
        candidates = rows[places]
        sims = images.vectors[candidates].astype(np.float64) @ images.vectors[anchor].astype(np.float64)
        assert negative == candidates[np.argmax(sims)]


def test_more_candidates_give_harder_negatives():
    labels = labels_of([5] * 40)
    images = Images(labels)
    means = []
    for candidates in (1, 5, 50, None):
        anchors, _, negatives = triplets(hard(labels, images, candidates=candidates), 1).T
        means.append((images.vectors[anchors] * images.vectors[negatives]).sum(1).mean())
    assert means == sorted(means)
    assert means[-1] > means[0] + 0.5


@pytest.mark.parametrize("candidates", [4, None])
def test_an_unreadable_image_is_in_no_triplet_and_shifts_no_other(candidates):
    labels = labels_of(SIZES)
    unreadable = {3, 17, 40, int(np.flatnonzero(labels == 9)[0])}  # class 9 loses one of its two
    images = Images(labels, unreadable)
    sampler = hard(labels, images, candidates=candidates)
    for epoch in (1, 2, 3):
        found = triplets(sampler, epoch)
        assert not unreadable & set(found.ravel().tolist())
        assert 9 not in labels[found[:, 0]]
    readable = sorted(set(range(len(labels))) - unreadable)
    assert torch.equal(sampler.bank[readable], torch.from_numpy(images.vectors[readable]))


def test_used_images_are_embedded_again_after_each_epoch_and_all_every_few():
    labels = labels_of([4] * 30)
    images = Images(labels)
    sampler = hard(labels, images, triplets_per_epoch=8, refresh_every=3)
    for epoch in range(1, 7):
        used = sorted(set(triplets(sampler, epoch).ravel().tolist()))
        images.vectors = -images.vectors
        assert not sampler.end_epoch(epoch, {"loss": 1.0}, images)
        assert images.asked[-1] == (list(range(120)) if epoch % 3 == 0 else used)
        asked = images.asked[-1]
        assert torch.equal(sampler.bank[asked], torch.from_numpy(images.vectors[asked]))


def begins(losses, **more):
    """With which epoch hard negatives begin."""
    labels = labels_of(SIZES)
    images = Images(labels)
    sampler = HardNegatives(labels, **more)
    for epoch, each in enumerate(losses, 1):
        began = sampler.end_epoch(epoch, dict(zip(("loss", "val_loss"), each, strict=False)), images)
        assert sampler.uses_hard_negatives == began
        if began:
            assert images.asked == [list(range(len(labels)))]
            return epoch + 1
    assert not images.asked, "a bank costs nothing before it is needed"
    return None


def test_hard_negatives_begin_when_both_losses_have_come_down():
    nan = float("nan")
    assert begins([(1, 2), (0.5, 1.1), (0.6, 0.9), (0.4, 0.9)]) == 5
    assert begins([(1, 2), (0.5, 1.0)]) == 3
    assert begins([(1, 2), (0.85, 1.5)], hard_below=0.9) == 3
    assert begins([(1, 2), (nan, 0.1), (0.1, nan)]) is None
    assert begins([(1, 2), (0.9, 1.9), (0.8, 1.8)]) is None


def test_without_a_validation_loss_the_training_loss_decides_and_that_is_said(caplog):
    caplog.set_level("INFO")
    assert begins([(1,), (0.6,), (0.5,)]) == 4
    assert caplog.text.count("the training loss alone says when") == 1


def test_an_epoch_may_be_named():
    assert begins([(1, 1)] * 9, hard_from=4) == 4
    assert begins([(1, 1)] * 9, hard_from=4, hard_below=None) == 4
    assert begins([(1, 1), (0.1, 0.1), (0, 0)], hard_from=9, hard_below=None) is None
    assert begins([(1, 1), (0.1, 0.1)], hard_from=9) == 3


@pytest.mark.parametrize("candidates", [7, None])
def test_it_goes_on_from_its_state(candidates):
    labels = labels_of(SIZES)
    images = Images(labels, {5})
    sampler = hard(labels, images, candidates=candidates)
    triplets(sampler, 1)
    sampler.end_epoch(1, {"loss": 1.0}, images)
    whole = triplets(sampler, 2).tolist()
    other = HardNegatives(labels, triplets_per_batch=4, hard_from=1, candidates=candidates)
    assert triplets(other, 2).tolist() != whole
    other.load_bank_state(sampler.bank_state())
    other.set_epoch(2)
    other.load_state_dict(sampler.state_dict(5))
    assert np.reshape(list(other), (-1, 3)).tolist() == whole[20:]
    assert triplets(sampler, 3).tolist() == triplets(other, 3).tolist()


def test_seeds_and_epochs_differ():
    labels = labels_of(SIZES)
    found = [
        triplets(HardNegatives(labels, seed=seed), epoch).tolist() for seed in (0, 1) for epoch in (1, 2)
    ]
    assert len({str(each) for each in found}) == 4


@pytest.mark.parametrize(
    ("labels", "arguments", "said"),
    [
        ([0, 1, 2], {}, "no class has two images"),
        ([0, 0, 0, -1], {}, "a single class"),
        ([0, 0, 1, 1], {"candidates": 0}, "candidates=0"),
        ([0, 0, 1, 1], {"refresh_every": 0}, "refresh_every=0"),
        ([0, 0, 1, 1], {"hard_below": None}, "never be hard"),
    ],
)
def test_what_cannot_be_is_refused(labels, arguments, said):
    with pytest.raises(ValueError, match=said):
        HardNegatives(np.array(labels), **arguments)


def test_too_few_readable_images_are_an_error_a_user_can_act_on():
    labels = np.repeat([0, 1], 3)
    with pytest.raises(LookalikeError, match="could be read: no class has two images"):
        hard(labels, Images(labels, {0, 1, 3, 4}))


def test_identical_vectors_and_huge_labels_are_no_trouble():
    labels = np.repeat([2**62, 7, 2**63 - 1], 4)
    images = Images(labels)
    images.vectors[:] = images.vectors[0]
    for candidates in (3, None):
        a, _, n = triplets(hard(labels, images, candidates=candidates), 1).T
        assert (labels[a] != labels[n]).all()


def test_uses_of_random_negatives_spread_evenly():
    labels = labels_of([10] * 20)
    sampler = HardNegatives(labels)
    uses = Counter(n for epoch in range(1, 40) for n in triplets(sampler, epoch)[:, 2].tolist())
    counts = np.array([uses[row] for row in range(200)])
    assert counts.std() < 2 * counts.mean() ** 0.5
