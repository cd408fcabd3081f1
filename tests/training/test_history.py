"""The history: CSV and spreadsheet say the same, and text stays text."""

import datetime
import math

import polars as pl
import pytest
import torch

from lookalike.training.history import History, Means, local_time
from lookalike.training.workbook import write_workbook

openpyxl = pytest.importorskip("openpyxl")

ROWS = [
    {
        "epoch": epoch,
        "stage": 1,
        "loss": 2.0 / epoch,
        "triplet_active_share": 0.25,
        "rows": 1200,
        "val_loss": 1.5 / epoch,
        "val_recall@1": 0.5 + 0.1 * epoch,
        "validation_rows": 300,
        "lr_head": 3e-5,
        "images_per_second": 1234.5,
        "minutes": 1.5 * epoch,
        "date": "2026-03-28T14:05:09+01:00",
        "notes": "",
    }
    for epoch in (1, 2, 3)
]


@pytest.fixture
def book(tmp_path):
    rows = [dict(row) for row in ROWS]
    rows[1]["notes"] = '=HYPERLINK("http://example.org")'
    rows[2]["notes"] = "http://example.org is no link, and 007 is no number"
    rows[2]["loss"] = math.nan
    del rows[1]["val_loss"]
    write_workbook(rows, tmp_path / "history.xlsx")
    assert [path.name for path in tmp_path.iterdir()] == ["history.xlsx"]
    return openpyxl.load_workbook(tmp_path / "history.xlsx")


def columns(book):
    return {column[0].value: column[1:] for column in book["history"].iter_cols()}


def test_every_number_is_a_number_with_a_format(book):
    found = columns(book)
    assert [cell.value for cell in found["epoch"]] == [1, 2, 3]
    assert [cell.value for cell in found["loss"]] == [2.0, 1.0, "nan"]
    assert [cell.value for cell in found["val_loss"]] == [1.5, None, 0.5]
    formats = {name: cells[1].number_format for name, cells in found.items()}
    assert (formats["val_recall@1"], formats["triplet_active_share"]) == ("0.0 %", "0.0 %")
    assert (formats["loss"], formats["val_loss"]) == ("0.0000", "0.0000")
    assert (formats["rows"], formats["lr_head"]) == ("#,##0", "0.0E+00")
    assert found["date"][0].value == datetime.datetime(2026, 3, 28, 14, 5, 9)


def test_text_is_never_a_formula_or_a_link(book):
    notes = columns(book)["notes"]
    assert [cell.data_type for cell in notes] == ["n", "s", "s"]
    assert notes[1].value == '=HYPERLINK("http://example.org")'
    assert all(cell.hyperlink is None for cell in notes)


def test_it_is_made_to_be_read(book):
    sheet = book["history"]
    assert sheet.freeze_panes == "B2"
    assert all(cell.font.bold for cell in sheet[1])
    assert sheet.column_dimensions["M"].width > 40
    titles = [chart.title.tx.rich.p[0].r[0].t for chart in book["charts"]._charts]
    assert titles == ["Loss", "On validation identities"]
    drawn = [series.tx.strRef.f for series in book["charts"]._charts[0].series]
    assert drawn == ["history!$C$1", "history!$F$1"]


@pytest.mark.parametrize("rows", [[], ROWS[:1], [{"epoch": 1, "notes": "no loss"}]])
def test_short_histories(tmp_path, rows):
    write_workbook(rows, tmp_path / "history.xlsx")
    book = openpyxl.load_workbook(tmp_path / "history.xlsx")
    assert book["history"].max_row == (len(rows) + 1 if rows else 1)
    assert ("charts" in book.sheetnames) == (bool(rows) and "loss" in rows[0])


def test_a_full_disk_leaves_the_file_before(tmp_path, monkeypatch):
    write_workbook(ROWS, tmp_path / "history.xlsx")
    before = (tmp_path / "history.xlsx").read_bytes()
    monkeypatch.setattr("lookalike.training.workbook._add_charts", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_workbook(ROWS[:1], tmp_path / "history.xlsx")
    assert (tmp_path / "history.xlsx").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_the_csv_has_a_column_for_all_that_a_row_ever_had(tmp_path):
    history = History(tmp_path / "history.csv")
    history.add({"epoch": 1, "loss": 1 / 3, "notes": 'a "b", c'})
    history.add({"epoch": 2, "loss": 0.5, "val_loss": 0.1})
    read = pl.read_csv(tmp_path / "history.csv")
    assert read.columns == ["epoch", "loss", "notes", "val_loss"]
    assert read.rows() == [(1, 0.333333, 'a "b", c', None), (2, 0.5, None, 0.1)]


def test_the_date_says_how_far_from_utc_it_is():
    moment = datetime.datetime.fromisoformat(local_time())
    assert moment.utcoffset() is not None
    assert abs(datetime.datetime.now(datetime.UTC) - moment) < datetime.timedelta(seconds=5)


def test_a_batch_without_a_value_does_not_hide_those_of_the_others():
    means = Means()
    for share, images in ((0.5, 10), (math.nan, 30), (0.2, 20)):
        means.add({"loss": torch.tensor(1.0), "active": torch.tensor(share)}, images)
    again = Means()
    again.load_state_dict(means.state_dict())
    assert again.mean_of("active") == pytest.approx((0.5 * 10 + 0.2 * 20) / 30)
    assert (again.mean_of("loss"), again.count) == (1.0, 60)
    assert math.isnan(again.mean_of("other"))
