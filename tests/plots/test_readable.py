"""That no text is cut or touches another, in figures without images: few and many classes, or long names."""

import numpy as np
import polars as pl
import pytest
from looks import check_readable

from lookalike.plots.class_size_chart import class_size_figure
from lookalike.plots.image_uses import uses_histogram
from lookalike.plots.intervals import interval_bars
from lookalike.plots.similarity_histogram import pair_distances
from lookalike.plots.training_curves import curves, single_curves

LONG = "runs/a rather long name of a run with $dollars$ and much more to say than there is room"
RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    "sizes",
    [
        [1],
        [3] * 5,
        RNG.integers(1, 9, 5),
        RNG.integers(2, 9, 500),
        (3e6 / np.arange(1, 501) ** 2 + 1).astype(int),
    ],
)
def test_class_sizes(sizes):
    check_readable(class_size_figure(np.array(sizes), LONG))


@pytest.mark.parametrize(
    "uses", [[0], [7], [10**9], RNG.poisson(9, 5), RNG.poisson(0.7, 100_000), [0] + [50_000] * 99]
)
def test_uses(uses):
    check_readable(uses_histogram(np.array(uses)))


@pytest.mark.parametrize(
    ("width", "remark"), [(3, "blue: no other one is better (95 %, 123,456 identities)"), (7.2, "")]
)
@pytest.mark.parametrize(
    "values",
    [
        [{"value": 0.0}],
        [{"value": 1.0, "low": 1.0, "high": 1.0}],
        [{"value": 0.5 - n / 200, "low": 0.4 - n / 200, "high": 0.6 - n / 200} for n in range(40)],
        [{"value": -0.02, "low": -0.5, "high": 0.3}, {"value": 0.2}],
    ],
)
def test_compared_runs(values, remark, width):
    check_readable(
        interval_bars(
            [f"{LONG} {n}" for n in range(len(values))],
            values,
            "a_rather_long_metric_name@1000",
            [0],
            remark,
            width,
        )
    )


@pytest.mark.parametrize(("threshold", "density"), [(None, False), (-1.0, True), (0.98765, False)])
@pytest.mark.parametrize(
    ("positive", "negative"),
    [([0, 0, 1, 0], [0, 0, 1, 0]), ([0, 0, 3, 10**12], [10**12, 3 * 10**9, 5, 0]), ([0] * 4, [0, 7, 0, 0])],
)
def test_similarities_of_pairs(positive, negative, threshold, density):
    given = {
        "edges": [-1, -0.5, 0, 0.5, 1],
        "positive": positive,
        "negative": negative,
        "threshold": threshold,
    }
    check_readable(pair_distances(given, None if threshold is None else 1 / 3e6, density))


@pytest.mark.parametrize("epochs", [1, 2, 2000])
@pytest.mark.parametrize("many", [False, True])
def test_curves(epochs, many):
    names = ["loss", "val_loss", "lr_head", "val_map@r"]
    if many:
        names += [f"{kind}_a_rather_long_name_{n}" for kind in ("loss", "lr", "val") for n in range(7)]
    scale = {"loss": 1e4, "lr": 1e-6, "val": 1.0}
    columns = {name: scale[name.split("_")[0]] * RNG.uniform(size=epochs) for name in names}
    stages = np.arange(epochs) * 4 // epochs + 1
    history = pl.DataFrame({"epoch": np.arange(1, epochs + 1), "stage": stages, **columns})
    for figure in (curves(history, best_epoch=epochs), *single_curves(history, best_epoch=1).values()):
        check_readable(figure)
