import io
import math

import numpy as np
import polars as pl
import pytest

from lookalike.plots.training_curves import curves, short_rate, single_curves

HISTORY = pl.DataFrame(
    {
        "epoch": [1, 2, 3, 4],
        "loss": [4.0, 3.0, 2.0, 1.5],
        "loss_triplet": [3.0, 2.5, 1.5, 1.0],
        "loss_gor": [1.0, 0.5, 0.5, 0.5],
        "lr_head": [1e-4, 1e-3, 5e-4, 1e-5],
        "val_recall@1": [0.3, 0.5, 0.6, 0.58],
        "val_map@r": [0.1, 0.3, 0.25, 0.2],
        "images_per_second": [100.0] * 4,
        "minutes": [1.0, 2.0, 3.0, 4.0],
    }
)


def line_values(axes):
    return {line.get_label(): line.get_ydata() for line in axes.lines if not line.get_label().startswith("_")}


def mark_texts(axes):
    return [text.get_text() for text in axes.texts]


def pixels(figure):
    figure.savefig(io.BytesIO(), format="png")
    return figure


def test_every_kind_of_column_is_drawn_as_it_is():
    loss, validation, rates = curves(HISTORY).axes
    np.testing.assert_array_equal(line_values(loss)["sum"], HISTORY["loss"])
    np.testing.assert_array_equal(line_values(loss)["gor"], HISTORY["loss_gor"])
    np.testing.assert_array_equal(line_values(validation)["recall@1"], HISTORY["val_recall@1"])
    np.testing.assert_array_equal(line_values(rates)["head"], HISTORY["lr_head"])
    assert rates.get_yscale() == "log"


def test_the_epoch_that_was_kept_is_marked():
    assert mark_texts(curves(HISTORY).axes[1]) == ["kept: epoch 2"]
    assert mark_texts(curves(HISTORY, "recall@1").axes[1]) == ["kept: epoch 3"]
    assert mark_texts(curves(HISTORY, "map@r", best_epoch=4).axes[1]) == ["kept: epoch 4"]
    ring = curves(HISTORY).axes[1].lines[-1]
    assert (ring.get_xdata()[0], ring.get_ydata()[0]) == (2, 0.3)


def test_what_is_not_in_the_history_is_not_drawn():
    assert set(single_curves(HISTORY.select("epoch", "loss"))) == {"loss"}
    assert set(single_curves(HISTORY.drop("loss", "loss_triplet", "loss_gor"))) == {"validation", "rates"}


@pytest.mark.parametrize("rows", [1, 2])
def test_a_short_history_shows_dots(rows):
    for axes in pixels(curves(HISTORY[:rows])).axes:
        assert axes.lines[0].get_marker() == "o"


@pytest.mark.parametrize("bad", [math.nan, math.inf, None])
def test_gaps_and_values_that_are_no_numbers(bad):
    some = HISTORY.with_columns(loss=pl.Series([4.0, bad, 2.0, 1.0]))
    assert np.isnan(line_values(curves(some).axes[0])["sum"][1])
    none = HISTORY.select(
        "epoch", loss=pl.Series([bad] * 4), **{"val_map@r": pl.Series([bad] * 4, dtype=pl.Float64)}
    )
    figure = pixels(curves(none))
    assert all("all values are NaN" in mark_texts(axes) for axes in figure.axes)


STAGED = HISTORY.with_columns(stage=pl.Series([1, 1, 2, 3]), val_loss=pl.Series([2.0, 1.5, 1.4, 1.3]))


def test_the_validation_loss_stands_beside_the_training_loss():
    loss, validation, _ = curves(STAGED).axes
    assert loss.get_title(loc="left") == "Loss"
    np.testing.assert_array_equal(line_values(loss)["validation"], STAGED["val_loss"])
    np.testing.assert_array_equal(line_values(loss)["training"], STAGED["loss"])
    assert set(line_values(validation)) == {"recall@1", "map@r"}


@pytest.mark.parametrize("kind", [pl.Int64, pl.Float64, pl.String])
def test_stages_are_named_and_parted_in_every_panel(kind):
    for axes in curves(STAGED.cast({"stage": kind})).axes:
        texts = [text for text in mark_texts(axes) if not text.startswith("kept")]
        assert texts == ["stage 1", "2", "3"]
        parted = [each.get_xdata()[0] for each in axes.lines if list(each.get_ydata()) == [0, 1]]
        assert {2.5, 3.5} <= set(parted)


def test_one_stage_is_not_named():
    for axes in curves(STAGED.with_columns(stage=pl.lit(1))).axes:
        assert [text for text in mark_texts(axes) if not text.startswith("kept")] == []


@pytest.mark.parametrize("history", [STAGED, HISTORY])
@pytest.mark.parametrize("best", [1, 4])
def test_no_text_touches_another(history, best):
    for figure in (curves(history, best_epoch=best), *single_curves(history, best_epoch=best).values()):
        pixels(figure)
        for axes in figure.axes:
            texts = [text for text in (*axes.texts, axes._left_title) if text.get_text()]
            boxes = [text.get_window_extent() for text in texts]
            for place, box in enumerate(boxes):
                for other in boxes[place + 1 :]:
                    assert not box.overlaps(other), [text.get_text() for text in texts]


def test_text_columns_count_as_gaps():
    figure = curves(pl.DataFrame({"epoch": [1, 2], "loss": ["", "3.5"]}))
    assert line_values(figure.axes[0])["sum"][1] == 3.5


def test_a_name_with_dollars_is_not_mathematics():
    pixels(curves(pl.DataFrame({"epoch": [1], "loss": [1.0], "loss_$a$b": [1.0]})))


def test_a_history_with_nothing_to_draw_is_refused():
    with pytest.raises(ValueError, match="no epoch"):
        curves(HISTORY[:0])
    with pytest.raises(ValueError, match="minutes"):
        curves(HISTORY.select("epoch", "minutes"))


def test_rates_are_short():
    assert [short_rate(value) for value in (0.01, 0.003, 1e-4, 3e-5, 0)] == [
        "0.01",
        "0.003",
        "1e-4",
        "3e-5",
        "0",
    ]


def test_no_global_state_is_touched():
    import matplotlib

    before = dict(matplotlib.rcParams)
    curves(HISTORY)
    assert dict(matplotlib.rcParams) == before
