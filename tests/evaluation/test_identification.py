"""The rate at which strangers are given a name: exact counts, intervals that hold, and extrapolation."""

from itertools import combinations

import numpy as np
import pytest

from lookalike.evaluation.identification import FalsePositiveRate, choose_identification_point
from lookalike.evaluation.stranger_scores import draw_scores


def population(identities, each=4, seed=0, dim=16, noise=0.5):
    """Identities of uneven similarity to each other, as in real galleries."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(identities), each)
    centres = rng.normal(size=(identities, dim)) * np.linspace(1.6, 0.4, dim)
    vectors = centres[labels] + noise * rng.normal(size=(len(labels), dim))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True), labels


def naive_rate(unit, codes, gallery, threshold, encounter=1):
    """Every stranger, every gallery, every photo."""
    rates = []
    for stranger in np.unique(codes):
        others = [code for code in np.unique(codes) if code != stranger]
        probes = np.flatnonzero(codes == stranger)
        outcomes = []
        for chosen in combinations(others, gallery):
            for start in range(0, len(probes), encounter):
                group = probes[start : start + encounter]
                best = max(
                    np.mean([max(unit[p] @ unit[g] for g in np.flatnonzero(codes == c)) for p in group])
                    for c in chosen
                )
                outcomes.append(best >= threshold)
        rates.append(np.mean(outcomes))
    return np.mean(rates)


@pytest.mark.parametrize("gallery", [1, 3, 4])
def test_the_rate_is_that_of_all_galleries(gallery):
    unit, codes = population(6, each=3)
    scores = draw_scores(unit, codes, np.array([3]), 1, 1, np.random.default_rng(0))
    rate = FalsePositiveRate(scores, gallery)
    for threshold in (-0.2, 0.3, 0.6, 0.8, 0.99):
        assert rate(threshold) == pytest.approx(naive_rate(unit, codes, gallery, threshold), abs=1e-9)
    assert not rate.extrapolated


def test_the_photos_of_an_encounter_are_averaged():
    unit, codes = population(5, each=2)
    scores = draw_scores(unit, codes, np.array([2]), 2, 1, np.random.default_rng(0))
    rate = FalsePositiveRate(scores, 2)
    for threshold in (0.2, 0.5, 0.7):
        assert rate(threshold) == pytest.approx(naive_rate(unit, codes, 2, threshold, 2), abs=1e-9)


@pytest.mark.parametrize("gallery", [3, 500])
def test_influences_are_those_of_leaving_each_identity_out(gallery):
    unit, codes = population(9, each=3)
    scores = draw_scores(unit, codes, np.array([3]), 1, 1, np.random.default_rng(0))
    whole = scores.gallery_estimate(0.5, 3) if gallery == 3 else scores.pair_estimate(0.5)
    without = []
    for left_out in range(9):
        keep = codes != left_out
        rest = draw_scores(
            unit[keep], np.unique(codes[keep], return_inverse=True)[1], np.array([3]), 1, 1,
            np.random.default_rng(0),
        )  # fmt: skip
        without.append(rest.gallery_rate(0.5, 3) if gallery == 3 else rest.pair_rate(0.5))
    expected = float(whole) - np.array(without)
    assert 0 < float(whole) < 1
    np.testing.assert_allclose(whole.influence, expected - expected.mean(), atol=1e-9)


def test_the_threshold_is_the_smallest_one_that_keeps_the_rate():
    unit, codes = population(60)
    point = choose_identification_point(unit, codes, [4] * 20, 0.05)
    scores = draw_scores(unit, codes, np.array([4] * 20), 1, 8, np.random.default_rng(0))
    rate = FalsePositiveRate(scores, 20)
    assert rate(point.threshold) <= 0.05 < rate(point.threshold - 1e-4)
    assert (point.fpir, point.requested, point.extrapolated) == (0.05, 0.05, False)
    assert point.fpir_low <= rate(point.threshold) <= point.fpir_high
    assert point.threshold_low < point.threshold < point.threshold_high
    similarities = (point.threshold_low - 1e-6, point.threshold, point.threshold_high)
    assert [point.answer(each) for each in similarities] == ["new", "unsure", "known"]


def test_larger_galleries_need_higher_thresholds():
    unit, codes = population(80)
    points = [choose_identification_point(unit, codes, [4] * size, 0.05) for size in (1, 10, 40, 400)]
    assert [point.extrapolated for point in points] == [False, False, False, True]
    assert (np.diff([point.threshold for point in points[:3]]) > 0).all()
    assert points[3].fpir == pytest.approx(1 - (1 - 2 / (80 * 79)) ** 400)
    assert "0.05 was requested" in str(points[3]) and "extrapolated" in str(points[3])
    widths = [point.fpir_high - point.fpir_low for point in points]
    assert widths[3] > 2 * max(widths[:3])


def test_more_photos_than_validation_has_count_as_more_identities():
    unit, codes = population(80, each=2)
    few, many = (choose_identification_point(unit, codes, [size] * 10, 0.05) for size in (2, 8))
    assert (few.extrapolated, many.extrapolated) == (False, True)
    assert many.threshold > few.threshold
    assert many.threshold == pytest.approx(
        choose_identification_point(unit, codes, [8] * 10, 0.05, seed=1).threshold, abs=0.02
    )


@pytest.mark.parametrize(
    ("identities", "photos", "fpir", "message"),
    [(3, [1], 0.01, "too few"), (9, [], 0.01, "at least one photo"), (9, [1], 0, "fpir=0"),
     (9, [0], 0.1, "at least one photo")],
)  # fmt: skip
def test_what_cannot_be_told_is_refused(identities, photos, fpir, message):
    with pytest.raises(ValueError, match=message):
        choose_identification_point(*population(identities), photos, fpir)


def realised_rate(unit, codes, gallery, threshold, rng, repeats):
    """Share of photos of unenrolled identities that are given a name, over galleries drawn at random."""
    cosine, rates = unit @ unit.T, []
    for _ in range(repeats):
        enrolled = np.isin(codes, rng.permutation(codes.max() + 1)[:gallery])
        rates.append((cosine[np.ix_(~enrolled, enrolled)].max(axis=1) >= threshold).mean())
    return np.mean(rates)


@pytest.mark.parametrize(("gallery", "repeats"), [(10, 12), (30, 4), (100, 2), (300, 1)])
def test_the_promise_holds_for_identities_that_it_was_not_made_on(gallery, repeats):
    """At galleries of 10, 30 and 100 the rate is measured, at 300 extrapolated."""
    world, names = population(2000, each=4)
    held_out, rng = names >= 500, np.random.default_rng(1)
    for part in range(5):
        validation = (names >= 85 * part) & (names < 85 * part + 150)
        point = choose_identification_point(world[validation], names[validation], [4] * gallery, 0.01)
        rate = realised_rate(
            world[held_out].astype(np.float32), names[held_out] - 500, gallery, point.threshold, rng, repeats
        )
        assert point.extrapolated == (gallery == 300)
        assert point.fpir_low <= rate <= point.fpir_high, (rate, str(point))
