import datetime
import logging

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lookalike.data.table import Table
from lookalike.errors import DataError
from lookalike.prepare.splits.encounters import Encounters
from lookalike.prepare.splits.time import Time


def table_of(**columns):
    count = len(next(iter(columns.values())))
    paths = [f"{row}.jpg" for row in range(count)]
    return Table(pl.DataFrame({"path": paths, "label": [f"c{row % 4}" for row in range(count)], **columns}))


@given(st.lists(st.integers(0, 30), min_size=20, max_size=80).filter(lambda days: len(set(days)) > 1))
def test_no_day_is_in_two_splits_and_test_is_newest(days):
    dates = [datetime.date(2024, 1, 1) + datetime.timedelta(day) for day in days]
    frame = Time(0.2, 0.3)(table_of(date=dates)).frame
    assert frame.group_by("date").agg(pl.col("split").n_unique())["split"].max() == 1
    newest = {split: frame.filter(pl.col("split") == split)["date"] for split in ("train", "val", "test")}
    if len(newest["val"]):
        assert newest["train"].max() < newest["val"].min()
    if len(newest["test"]):
        assert newest["train"].max() < newest["test"].min()
        assert (frame["split"] == "test").mean() <= 0.3


def test_dates_as_text_and_missing_ones(caplog):
    texts = ["2020-01-01", "2021-05-05 10:00:00", "2022:03:03 08:00:00", None, "2021/05/05"] * 4
    frame = Time(0, 0.25, column="taken")(table_of(taken=texts)).frame
    assert set(frame.filter(pl.col("split") == "test")["taken"]) == {"2022:03:03 08:00:00"}
    assert "4 images have no date" in caplog.text


def test_columns_without_dates_are_refused():
    with pytest.raises(DataError, match="no column 'date'; it has path, label"):
        Time()(table_of(when=["2020-01-01"] * 8))
    with pytest.raises(DataError, match="the first of them 'yesterday' in row 1"):
        Time()(table_of(date=["2020-01-01", "yesterday"] * 4))
    with pytest.raises(DataError, match="fewer than two days"):
        Time()(table_of(date=["2020-01-01"] * 8))


@given(
    st.lists(st.integers(0, 7), min_size=40, max_size=120),
    st.sampled_from(["class", "dataset"]),
    st.integers(0, 3),
)
def test_no_encounter_is_in_two_splits_and_every_class_is_trained_on(values, scope, seed):
    table = table_of(encounter=[f"e{value}" for value in values])
    try:
        frame = Encounters(0.2, 0.2, scope=scope, seed=seed)(table).frame
    except DataError:
        assert table.frame.group_by("label").agg(pl.col("encounter").n_unique())["encounter"].max() < 2
        return
    keys = ["encounter"] if scope == "dataset" else ["label", "encounter"]
    assert frame.group_by(keys).agg(pl.col("split").n_unique())["split"].max() == 1
    trained = set(frame.filter(pl.col("split") == "train")["label"])
    assert trained == set(frame["label"])


def test_shares_are_kept_where_there_are_many_encounters(caplog):
    caplog.set_level(logging.WARNING)
    frame = Encounters(0.1, 0.2)(table_of(encounter=[f"e{row // 8}" for row in range(800)])).frame
    assert abs((frame["split"] == "test").mean() - 0.2) < 0.02
    assert abs((frame["split"] == "val").mean() - 0.1) < 0.02
    assert not caplog.records


def test_a_single_encounter_for_each_class_is_refused():
    with pytest.raises(DataError, match="every class has a single encounter"):
        Encounters()(table_of(encounter=["a", "b", "c", "d"] * 5))
    with pytest.raises(DataError, match=r"split\.column= names the one with encounters"):
        Encounters()(table_of(visit=["a"] * 8))
