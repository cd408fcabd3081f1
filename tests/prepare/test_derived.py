"""Datasets made from datasets in Python: the same folders, and the same errors, as from the command line."""

import polars as pl
import pytest

import lookalike
from lookalike.cli.main import main
from lookalike.data.table import Table, write_table
from lookalike.errors import ConfigError, DataError, LookalikeError
from lookalike.prepare import fetch_shards, filter_dataset, merge_datasets, pack_shards, split_dataset
from lookalike.prepare.splits.kfold import KFold


@pytest.fixture
def data(shapes_folder, tmp_path, monkeypatch):
    """Two datasets of disjoint labels in data/, which is where datasets are looked up by name."""
    monkeypatch.chdir(tmp_path)
    files = sorted(shapes_folder.rglob("*.png"))
    names = sorted({file.parent.name for file in files})
    for name, labels in {"first": names[:3], "second": names[3:]}.items():
        chosen = [file for file in files if file.parent.name in labels][name == "first" :]
        rows = {
            "path": [str(file.relative_to(shapes_folder)) for file in chosen],
            "label": [file.parent.name for file in chosen],
            "split": ["train"] * len(chosen),
        }
        write_table(Table(pl.DataFrame(rows), shapes_folder), tmp_path / "data" / name, {})
    return tmp_path / "data"


def test_each_function_writes_what_its_job_writes(data, tmp_path):
    split = KFold(folds=3, fold=0, seed=2)
    pairs = {
        "split": (
            split_dataset("first", "a/split", split),
            ["dataset=first", "split=kfold", "split.folds=3", "seed=2"],
        ),
        "filter": (
            filter_dataset(data / "first", "a/filter", max_images=4),
            ["dataset=first", "max_images=4"],
        ),
        "merge": (
            merge_datasets(["first", data / "second"], "a/merge", prefixes=["x/", ""]),
            ["dataset=[first,second]", "prefixes=[x/,'']"],
        ),
        "shards": (
            pack_shards(["first", "second"], "a/shards"),
            ["dataset=[first,second]", "progress=false"],
        ),
    }
    for job, (table, words) in pairs.items():
        assert main(["prepare", job, *words, f"out=b/{job}"]) == 0
        other = lookalike.read_table(f"b/{job}")
        assert table.relative_to(tmp_path).frame.equals(
            other.relative_to(tmp_path).frame.with_columns(
                pl.col("path").str.replace(f"b/{job}/shard", f"a/{job}/shard", literal=True),
                *([pl.col("dataset").str.replace("second", str(data / "second"))] if job == "merge" else []),
            )
        )
    fetched = fetch_shards("a/shards", "a/fetched")
    assert fetched.frame.equals(pairs["shards"][0].frame)
    assert (tmp_path / "a" / "filter" / "left_out.csv").exists()


def test_a_table_in_memory_is_a_dataset(data):
    table = lookalike.read_table(data / "second")
    first = table.labels[0]
    halved = split_dataset(
        table, "own", lambda rows: Table(rows.frame.with_columns(split=pl.lit("test")), rows.folder)
    )
    assert set(halved.frame["split"]) == {"test"} and halved.labels[0] == first
    assert halved.file(0).resolve() == table.file(0).resolve()
    assert "split_dataset" in (data.parent / "own" / "config.yaml").read_text()


@pytest.mark.parametrize(
    ("call", "words", "error"),
    [
        (lambda: filter_dataset("first", "out"), "nothing to filter by", ConfigError),
        (lambda: filter_dataset("first", "out", keep="no.txt"), "keep=no.txt: there is no such", ConfigError),
        (
            lambda: filter_dataset("first", "out", min_images=3, max_images=2),
            "max_images=2 is less",
            ConfigError,
        ),
        (lambda: filter_dataset("first", "out", min_images=99), "nothing is left", DataError),
        (lambda: filter_dataset("nowhere", "out", min_images=2), "nowhere", LookalikeError),
        (lambda: merge_datasets(["first"], "out"), "at least two", ConfigError),
        (lambda: merge_datasets(["first", "second"], "out", prefixes=["a"]), "1 for 2 datasets", ConfigError),
        (lambda: merge_datasets(["first", "data/first"], "out"), "several datasets", DataError),
        (lambda: fetch_shards("data/first", "out"), "shards.json", LookalikeError),
        (lambda: pack_shards("first", "data"), "exists", LookalikeError),
    ],
)
def test_what_the_command_line_rejects_is_rejected(data, call, words, error):
    with pytest.raises(error, match=words):
        call()
    assert not (data.parent / "out").exists()
