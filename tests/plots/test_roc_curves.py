import numpy as np
import pytest
from looks import check_readable, texts_on_figure
from sklearn.metrics import det_curve, roc_auc_score, roc_curve

from lookalike.evaluation.protocols.base import Samples, self_retrieval
from lookalike.evaluation.roc import protocol_roc
from lookalike.metrics.inputs import unit_vectors
from lookalike.metrics.roc import rate_grid, roc_with_intervals
from lookalike.metrics.verification import Pairs, tar_at_far
from lookalike.plots.roc_curves import crossing, det, draw_band, format_plain, roc, steps, thin_curve


def pairs(positives=60, negatives=400, seed=0, ties=False):
    rng = np.random.default_rng(seed)
    same, different = rng.normal(0.5, 0.2, positives), rng.normal(0.1, 0.2, negatives)
    if ties:
        same, different = np.round(same, 1), np.round(different, 1)
    return same, different


def of_samples(classes=12, each=6, seed=0):
    rng = np.random.default_rng(seed)
    codes = np.repeat(np.arange(classes), each)
    unit = unit_vectors(rng.normal(size=(classes, 8))[codes] + 0.6 * rng.normal(size=(len(codes), 8)))
    samples = Samples(unit, codes, np.arange(classes), None)
    return unit, codes, [self_retrieval(samples, np.arange(len(codes)), "itself", "self")]


@pytest.mark.parametrize("ties", [False, True])
def test_points_are_those_of_scikit_learn(ties):
    same, different = pairs(ties=ties)
    truth, scores = np.repeat([1, 0], [60, 400]), np.concatenate([same, different])
    far, tar, thresholds = roc_curve(truth, scores, drop_intermediate=False)
    found = roc_with_intervals(Pairs.from_scores(same, different))
    np.testing.assert_allclose(found.far, far)
    np.testing.assert_allclose(found.tar, tar)
    np.testing.assert_allclose(found.thresholds, thresholds)
    assert found.areas["auc"]["value"] == pytest.approx(roc_auc_score(truth, scores))
    false, missed, _ = det_curve(truth, scores, drop_intermediate=False)
    known = dict(zip(np.round(found.far, 12), np.round(1 - found.tar, 12), strict=True))
    assert all(f in np.round(found.far, 12) for f in np.round(false, 12))
    assert min(abs(known[0.0] - m) for f, m in zip(false, missed, strict=True) if f == 0) < 1e-9


def test_all_pairs_of_a_protocol_and_intervals_around_the_curve():
    unit, codes, parts = of_samples()
    found = protocol_roc(parts)
    first, second = np.triu_indices(len(codes), 1)
    scores = np.einsum("pd,pd->p", unit[first].astype(np.float64), unit[second])
    far, tar, _ = roc_curve(codes[first] == codes[second], scores, drop_intermediate=False)
    np.testing.assert_allclose(
        found.interpolate_tar(np.array([0.01, 0.1, 0.5])), [tar[far <= r].max() for r in (0.01, 0.1, 0.5)]
    )
    assert (found.low <= found.interpolate_tar(found.rates)).all() and (
        found.high >= found.interpolate_tar(found.rates)
    ).all()
    assert len(found.rates) == len(rate_grid(found.negatives))
    for area in found.areas.values():
        assert area["low"] <= area["value"] <= area["high"]


def test_the_rate_at_a_rate_is_that_of_the_metric():
    both = Pairs.from_scores(*pairs())
    curve = roc_with_intervals(both)
    for far in (0.01, 0.05, 0.2):
        assert float(curve.interpolate_tar(far)) == pytest.approx(tar_at_far(both, far).tar)


def test_pairs_of_one_kind_have_no_curve():
    with pytest.raises(ValueError, match="needs both kinds"):
        roc_with_intervals(Pairs.from_scores([0.5], []))


def test_rates_are_even_on_a_log_axis_and_never_finer_than_the_pairs():
    rates = rate_grid(1000)
    assert rates[0] == pytest.approx(1e-3) and rates[-1] < 1
    np.testing.assert_allclose(np.diff(np.log10(rates)), 0.25, atol=1e-3)


def test_thinned_points_keep_the_last_of_each_step():
    far, tar = np.linspace(0, 1, 50_001), np.linspace(0, 1, 50_001) ** 0.3
    few, values = thin_curve(far, tar)
    assert len(few) < 800 and few[0] == far[1] and few[-1] == 1
    np.testing.assert_allclose(values, few**0.3)


@pytest.mark.parametrize("draw", [roc, det])
@pytest.mark.parametrize("curves", [1, 6])
def test_curves_can_be_read(draw, curves):
    found = {
        f"runs/a rather long name of a run {n}": roc_with_intervals(Pairs.from_scores(*pairs(seed=n)))
        for n in range(curves)
    }
    check_readable(draw(found))


def test_bands_and_marks_are_drawn_and_named():
    figure = roc({"mine": protocol_roc(of_samples()[2])}, at=[0.01, 0.1, 1e-9])
    axes = figure.axes[0]
    assert axes.get_xscale() == "log" and len(axes.collections) == 1
    assert axes.lines[1].get_xdata().tolist() == [0.01, 0.1], "1e-9 is finer than the pairs show"
    words = " ".join(texts_on_figure(figure))
    assert "AUC" in words and "[" in words and "0.00001" not in words
    check_readable(det({"mine": protocol_roc(of_samples()[2])}))


def test_perfect_pairs_can_be_drawn():
    curve = {"perfect": roc_with_intervals(Pairs.from_scores([0.9, 0.8], [0.1] * 50))}
    check_readable(roc(curve))
    check_readable(det(curve))


def test_numbers_without_powers_of_ten():
    assert [format_plain(value) for value in (100, 0.1, 1e-5)] == ["100", "0.1", "0.00001"]


def test_the_band_goes_to_the_end_and_holds_the_curve():
    found = protocol_roc(of_samples()[2])
    far, tar = steps(found, 1 / found.negatives, found.rates)
    rates, low, high = draw_band(found, far)
    assert (rates[-1], low[-1], high[-1]) == (1, 1, 1) and (np.diff(rates) > 0).all()
    assert (low <= found.interpolate_tar(rates)).all() and (high >= found.interpolate_tar(rates)).all()
    known = np.isin(rates, found.rates)
    drawn = np.isin(found.rates, rates)
    np.testing.assert_array_equal(low[known][: drawn.sum()], found.low[drawn])
    assert drawn.sum() >= len(drawn) - 1, "the finest one may be rounded to just below 1 / pairs"
    np.testing.assert_array_equal(tar, found.interpolate_tar(far))


def height_at(line, x):
    """Lowest and highest place of a drawn line at x, steps and all, in the pixels of the figure."""
    path = line.get_path() if line.get_drawstyle() == "default" else None
    xs, ys = np.asarray(line.get_xdata(), float), np.asarray(line.get_ydata(), float)
    if path is None:
        assert line.get_drawstyle() == "steps-post"
        left = np.searchsorted(xs, x, side="right") - 1
        same = np.searchsorted(xs, x, side="left") - 1
        ends = [ys[max(left, 0)], ys[max(same, 0)]]
        return min(ends), max(ends)
    inside = np.interp(np.log(x), np.log(xs), ys)
    return inside, inside


@pytest.mark.parametrize("draw", [roc, det])
@pytest.mark.parametrize(
    ("positives", "negatives", "ties"),
    [(60, 400, False), (60, 400, True), (3, 7, False), (2, 1000, True), (700, 20_000, False)],
)
@pytest.mark.parametrize("seed", range(4))
def test_every_marker_lies_on_its_curve(draw, positives, negatives, ties, seed):
    curve = roc_with_intervals(Pairs.from_scores(*pairs(positives, negatives, seed, ties)))
    rates = [0.5, 0.2, 0.1, 0.03, 0.01, 0.0012345, 0.001]
    figure = draw(
        {"mine": curve, "other": roc_with_intervals(Pairs.from_scores(*pairs(50, 300, seed + 9)))}, at=rates
    )
    checked = 0
    lines = [line for line in figure.axes[0].lines if len(line.get_xdata())]
    for line, markers in [(line, rest) for line in lines if line.get_label()[0] != "_" for rest in lines]:
        if markers.get_marker() != "o" or markers.get_markeredgecolor() != line.get_color():
            continue
        for x, y in zip(markers.get_xdata(), markers.get_ydata(), strict=True):
            low, high = height_at(line, x)
            assert x < line.get_xdata()[0] or low - 1e-9 <= y <= high + 1e-9, f"({x}, {y}) not in {low, high}"
            checked += 1
    assert checked


@pytest.mark.parametrize("seed", range(20))
def test_the_ring_lies_where_both_rates_are_equal(seed):
    curve = roc_with_intervals(
        Pairs.from_scores(*pairs(seed % 7 + 2, 3 * seed + 5, seed, ties=bool(seed % 2)))
    )
    equal = crossing(curve)
    before = curve.tar[np.searchsorted(curve.far, equal, side="left") - 1] if equal else 0
    assert 1 - float(curve.interpolate_tar(equal)) - 1e-12 <= equal <= 1 - before + 1e-12
