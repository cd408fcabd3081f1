import json

import numpy as np
import polars as pl
import pytest
from planted_copies import scene

import lookalike
from lookalike.clean.mixtures import divide
from lookalike.clean.page import group_items
from lookalike.cli.main import main
from lookalike.data.table import read_table
from lookalike.embeddings import Embeddings

CLASSES, IMAGES, DIM = 14, 8, 24
SECOND = 3
"""Images of the second identity in class 2."""


@pytest.fixture(scope="module")
def mixed_dataset(tmp_path_factory):
    """A table whose class c02 holds two identities, and vectors of its images."""
    folder = tmp_path_factory.mktemp("mixed")
    generator = np.random.default_rng(3)
    centres = generator.standard_normal((CLASSES + 1, DIM))
    rows, vectors = [], []
    for identity in range(CLASSES):
        for number in range(IMAGES):
            is_second = identity == 2 and number >= IMAGES - SECOND
            centre = centres[CLASSES if is_second else identity]
            vectors.append(centre + 0.4 * generator.standard_normal(DIM))
            path = f"{identity:02}-{number}.png"
            scene(100 * identity + number, (40, 40)).save(folder / path)
            rows.append((path, f"c{identity:02}", "train"))
    pl.DataFrame(rows, schema=["path", "label", "split"], orient="row").write_parquet(
        folder / "table.parquet"
    )
    table = read_table(folder / "table.parquet")
    values = np.array(vectors, np.float32)
    return table, values / np.linalg.norm(values, axis=1, keepdims=True)


def judge(table, vectors):
    return lookalike.clean(table, Embeddings(vectors, table, "made"))


def splits_of(cleaning):
    return cleaning.findings.filter(pl.col("change") == "split")


def test_a_class_of_two_identities_is_split(mixed_dataset):
    table, vectors = mixed_dataset
    cleaning = judge(table, vectors)
    splits = splits_of(cleaning)
    expected = {f"02-{number}.png" for number in range(IMAGES - SECOND, IMAGES)}
    assert set(splits["path_a"]) == expected
    assert set(splits["label_b"]) == {"c02 (2)"}
    assert splits["group"].n_unique() == 1
    assert splits["path_b"][0] in {f"02-{number}.png" for number in range(IMAGES - SECOND)}
    moved = {line["path"]: line["to"] for line in cleaning.changes if line["do"] == "relabel"}
    assert moved == dict.fromkeys(expected, "c02 (2)")
    items = [item for item in group_items(splits) if item["kind"] == "wrong_label"]
    assert len(items) == 1, "a split is decided at once"
    assert items[0]["changes"] == [["split", "c02 (2)"]] * SECOND


def test_a_split_is_applied_and_undone_and_once_done_not_proposed_again(mixed_dataset, tmp_path):
    table, vectors = mixed_dataset
    lookalike.clean(table, Embeddings(vectors, table, "made"), out=tmp_path / "clean")
    words = ["prepare", f"patch={tmp_path}/clean/patch.jsonl"]
    assert main([*words, f"dataset={table.folder}/table.parquet", f"out={tmp_path}/after"]) == 0
    after = read_table(tmp_path / "after")
    assert (after.frame["label"] == "c02 (2)").sum() == SECOND
    assert not len(splits_of(judge(after, vectors)))
    assert main([*words, f"dataset={tmp_path}/after", "undo=true", f"out={tmp_path}/undone"]) == 0
    assert read_table(tmp_path / "undone").relative_to(table.folder).frame.equals(table.frame)


def test_a_rejected_split_is_not_proposed_again(mixed_dataset, tmp_path):
    table, vectors = mixed_dataset
    lines = [{"lookalike_patch": 1, "root": ""}]
    for path, label in splits_of(judge(table, vectors)).select("path_a", "label_a").iter_rows():
        who = {"author": "Ann", "note": "", "at": "2026-05-01T12:00:00+00:00"}
        lines.append({"do": "keep", "path": path, "label": label, "kind": "wrong_label", **who})
    (tmp_path / "reject.jsonl").write_text("\n".join(map(json.dumps, lines)))
    words = [f"patch={tmp_path}/reject.jsonl", f"dataset={table.folder}/table.parquet"]
    assert main(["prepare", *words, f"out={tmp_path}/after"]) == 0
    assert not len(splits_of(judge(read_table(tmp_path / "after"), vectors)))


def test_a_pure_class_has_no_parts_that_are_far_apart():
    generator = np.random.default_rng(0)
    centre = generator.standard_normal(DIM)
    pure = centre + 0.4 * generator.standard_normal((40, DIM))
    other = generator.standard_normal(DIM) + 0.4 * generator.standard_normal((40, DIM))
    units = [values / np.linalg.norm(values, axis=1, keepdims=True) for values in (pure, np.r_[pure, other])]
    rows = np.arange(80)
    assert sorted(divide(units[1], rows).smaller.tolist()) in (list(range(40)), list(range(40, 80)))
    one = divide(units[0], rows[:40])
    assert one is None or one.measures[0] > 0.8
    assert divide(np.repeat(units[0][:1], 10, 0), rows[:10]) is None, "identical vectors"
