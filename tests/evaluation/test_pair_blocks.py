import numpy as np
import polars as pl
import pytest

from lookalike.evaluation import pair_blocks
from lookalike.evaluation.evaluate import evaluate
from lookalike.evaluation.pair_blocks import ThresholdCells, identity_counts
from lookalike.evaluation.protocol_result import rank_parts
from lookalike.evaluation.protocols.base import Samples, TaskPart
from lookalike.evaluation.protocols.retrieval import (
    KFold,
    MultiView,
    QueryGallery,
    Reidentification,
    SelfRetrieval,
)
from lookalike.metrics.inputs import exact_vectors, factorise, unit_vectors
from lookalike.metrics.verification import tar_at_far
from lookalike.ranking.task import RetrievalTask


def samples(images=120, identities=15, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, identities, images)
    vectors = rng.standard_normal((identities, 6))[labels] + rng.standard_normal((images, 6))
    frame = pl.DataFrame(
        {
            "role": rng.choice(["query", "gallery", "both", "distractor"], images),
            "group": rng.choice(["a", "b", "c"], images),
            "fold": rng.integers(0, 2, images),
        }
    )
    names, codes = factorise(labels)
    return Samples(unit_vectors(vectors), codes, names, frame)


@pytest.mark.parametrize(
    "rules",
    [
        SelfRetrieval(),
        SelfRetrieval(ignore="group"),
        QueryGallery(),
        Reidentification(),
        KFold(),
        MultiView(gallery="groups"),
    ],
)
def test_the_pairs_are_those_that_the_comparison_counts(rules):
    parts = rules.parts(samples())
    pairs = rank_parts(parts, {}, fars=[0.1]).pairs
    thresholds = np.array([0.8, 0.3, 0.0, -2.0])
    counts = identity_counts(parts, thresholds, block=700)
    for place, threshold in enumerate(thresholds):
        above = pairs.values >= threshold
        assert counts.positive[:, place].sum() == pairs.positive[above].sum()
        assert counts.negative[:, place].sum() == 2 * pairs.negative[above].sum()


@pytest.mark.parametrize("spread", [1.0, 0.05, 1e-4, 1e-6, 0.0])
@pytest.mark.parametrize("size", [1, 2, 40, 400])
def test_the_cell_of_a_score_is_its_first_threshold(size, spread):
    """Thresholds spread over the bins, several in one bin, on scores, and between neighbouring float32."""
    rng = np.random.default_rng(size)
    scores = np.clip(0.3 + spread * rng.standard_normal((50, 60)), -1, 1).astype(np.float32)
    near = rng.choice(scores.ravel(), size).astype(np.float64)
    near[::3] += 1e-9
    thresholds = np.unique(np.append(near, -2.0))[::-1].copy()
    expected = (scores.astype(np.float64)[..., None] < thresholds).sum(axis=-1)
    assert np.array_equal(ThresholdCells(thresholds)(scores), expected)
    assert np.array_equal(ThresholdCells(np.array([-2.0]))(scores), np.zeros(scores.shape))


def test_pairs_of_several_parts_are_pooled_however_they_were_counted():
    parts = KFold().parts(samples(images=200))
    exact = rank_parts(parts, {}, fars=[0.1]).pairs
    cells = pair_blocks.count_pairs(parts)
    assert exact.exact
    assert (exact.positives, exact.negatives) == (cells.positives, cells.negatives)
    one, other = tar_at_far(exact, 0.1), tar_at_far(cells, 0.1)
    assert one.tar == other.tar
    assert one.threshold == pytest.approx(other.threshold, abs=2e-7)


def test_many_images_are_sampled():
    thresholds = np.array([0.5, -2.0])
    few = identity_counts(
        SelfRetrieval().parts(samples(images=4000, identities=10)), thresholds, max_rows=100
    )
    assert few.share == 1  # ten large identities: fewer images of each
    assert few.different == 45 * 10 * 10
    assert few.positive[:, -1].sum() == pytest.approx(10 * 400 * 399 / 2, rel=0.15)  # each for 40
    many = identity_counts(
        SelfRetrieval().parts(samples(images=400, identities=100)), thresholds, max_rows=100
    )
    assert many.share < 0.5  # a hundred small ones: fewer identities
    assert len(many.positive) == round(many.share * 100)


@pytest.mark.parametrize("far", [0.1, [0.5, 0.1, 1e-6]])
def test_verification_has_intervals(far):
    given = samples(300, 40)
    found = evaluate(given.unit, given.codes, far=far).metrics
    for name in ("auc", "tar@far=0.1", "threshold@far=0.1", "accuracy", "balanced_accuracy"):
        assert found[name]["low"] < found[name]["value"] < found[name]["high"]
    assert evaluate(given.unit, given.codes, far=far).metrics == found
    assert "low" not in evaluate(given.unit, given.codes, far=far, intervals=False).metrics["auc"]


def test_what_comes_from_a_sample_is_said(monkeypatch):
    given = samples(400, 40)
    said = "from a sample of"
    assert not any(said in note for note in evaluate(given.unit, given.codes, far=0.1, threshold=0.5).notes)
    monkeypatch.setattr(pair_blocks, "MOST_ROWS", 200)
    (note,) = (
        note for note in evaluate(given.unit, given.codes, far=0.1, threshold=0.5).notes if said in note
    )
    assert note.endswith(
        "different pairs: the intervals of verification metrics, operating_far and operating_tar"
    )
    assert not any(said in note for note in evaluate(given.unit, given.codes, far=0.1, intervals=False).notes)


def test_images_that_were_kept_stand_for_those_that_were_not():
    """One identity has nearly all pairs: a sample of its images must not make it one of many."""
    rng = np.random.default_rng(0)
    codes = np.repeat(np.arange(21), [120] + [6] * 20)
    vectors = rng.standard_normal((21, 6))[codes] + rng.standard_normal((len(codes), 6))
    parts = SelfRetrieval().parts(Samples(unit_vectors(vectors), codes, np.arange(21), pl.DataFrame()))
    thresholds = np.array([0.5, 0.0, -2.0])
    whole, some = (identity_counts(parts, thresholds, max_rows=most) for most in (1000, 145))
    assert (whole.share, some.share) == (1.0, 1.0)
    assert whole.different == whole.negative[:, -1].sum() / 2
    assert some.different < 0.6 * whole.different
    for kind in ("positive", "negative"):
        one, other = getattr(whole, kind), getattr(some, kind)
        assert other[:, -1] == pytest.approx(one[:, -1], rel=0.15)


def test_a_sample_keeps_positive_pairs_where_most_of_the_gallery_is_distractors():
    """Of 300 rows, 12 of 4,000 images; the rates of the sample are those of all pairs."""
    rng = np.random.default_rng(0)
    codes = np.concatenate([np.repeat(np.arange(6), 2), np.arange(100, 4100)])
    centres = rng.standard_normal((6, 8)).repeat(2, axis=0)
    vectors = np.concatenate([centres + 0.5 * rng.standard_normal((12, 8)), rng.standard_normal((4000, 8))])
    unit = exact_vectors(vectors)
    queries, gallery = np.arange(0, 12, 2), np.concatenate([np.arange(1, 12, 2), np.arange(12, 4012)])
    right = np.where(gallery < 12, codes[gallery], -1)
    part = TaskPart(RetrievalTask(unit[queries], codes[queries], unit[gallery], right), queries, gallery)
    thresholds = np.array([0.5, 0.2, 0.0, -2.0])
    whole = identity_counts([part], thresholds)
    some = identity_counts([part], thresholds, max_rows=300)
    assert some.positive.sum(axis=0).tolist() == whole.positive.sum(axis=0).tolist()
    assert whole.positive[:, -1].sum() == 6
    rates = [each.negative.sum(axis=0) / each.negative[:, -1].sum() for each in (whole, some)]
    assert rates[1] == pytest.approx(rates[0], abs=0.04)
    assert some.share == 1
