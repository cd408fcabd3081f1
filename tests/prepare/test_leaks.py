import shutil

import polars as pl
import pytest
from PIL import Image

from lookalike.data.table import Table
from lookalike.prepare.duplicates.signatures import hash_column, read_signatures
from lookalike.prepare.leaks import warn_of_leaks


@pytest.fixture
def table(tmp_path):
    for number in range(6):
        Image.linear_gradient("L").rotate(30 * number).resize((40 + number, 40)).save(
            tmp_path / f"{number}.png"
        )
    paths = [f"{number}.png" for number in range(6)]
    splits = ["train", "train", "train", "val", "test", "test"]
    return Table(pl.DataFrame({"path": paths, "label": list("aabcdd"), "split": splits}), tmp_path)


def messages(caplog, table, *splits):
    caplog.clear()
    warn_of_leaks(table, splits)
    return caplog.text


def test_a_clean_table_is_silent(table, caplog):
    assert messages(caplog, table, "test") == ""
    assert messages(caplog, table, "train") == ""


def test_copied_files_are_found(table, caplog):
    shutil.copy(table.file(0), table.file(4))
    text = messages(caplog, table, "test")
    assert "leak: test shares with train 1 image (4.png = 0.png)" in text
    assert messages(caplog, table, "val") == ""


def test_equal_hashes_are_compared_by_pixels(table, caplog):
    Image.open(table.file(1)).save(table.folder / "5.png", compress_level=0)
    hashed = Table(
        table.frame.with_columns(hash=pl.Series(hash_column(read_signatures(table)))), table.folder
    )
    assert messages(caplog, table, "test") == ""
    assert "1 image (5.png = 1.png)" in messages(caplog, hashed, "test")


def test_encounters_and_days_are_found(table, caplog):
    labels = ["a", "a", "b", "c", "a", "d"]
    encounters = ["e1", "e2", "e1", "e3", "e2", "e2"]
    days = ["2020-01-01", "2020-01-02", "2020-01-01", "", "2020-01-02 12:00", ""]
    columns = [pl.Series("label", labels), pl.Series("encounter", encounters), pl.Series("date", days)]
    text = messages(caplog, Table(table.frame.with_columns(columns), table.folder), "val", "test")
    assert "1 encounter of an identity (e2 of a) and 1 date of an identity (2020-01-02 of a)" in text
