"""`lookalike compare`, as a user runs it."""

import json
import shutil
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from PIL import Image

from lookalike.cli.main import main
from lookalike.data.table import Table
from lookalike.embeddings import Embeddings
from lookalike.errors import LookalikeError
from lookalike.evaluation.evaluate import evaluate
from lookalike.report.comparing import compare_evaluations

LABELS = np.repeat(np.arange(60), 5)


def write_noisy_evaluation(folder, noise, seed=0, labels=LABELS, name="photos"):
    """An evaluation of vectors around a centre for each identity."""
    rng = np.random.default_rng(0)
    centres, own = rng.normal(size=(60, 12))[np.asarray(labels) % 60], rng.normal(size=(len(labels), 12))
    vectors = centres + noise * (own + 0.5 * np.random.default_rng(seed).normal(size=own.shape))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    paths = [f"{row}.png" for row in range(len(labels))]
    frame = pl.DataFrame({"path": paths, "label": labels, "split": ["test"] * len(labels)})
    embeddings = Embeddings(vectors.astype(np.float32), Table(frame, folder.parent / name), "5pace")
    evaluation = evaluate(embeddings.vectors, embeddings.table.labels)
    replace(evaluation, embeddings=embeddings).save(folder, {"job": "evaluate"})
    return folder


@pytest.fixture(scope="module")
def evaluations(tmp_path_factory):
    """good, good again (another seed), poor; `run` holds poor as a run folder does."""
    root = tmp_path_factory.mktemp("compare")
    write_noisy_evaluation(root / "good", 1.0)
    write_noisy_evaluation(root / "again", 1.0, seed=1)
    write_noisy_evaluation(root / "poor", 1.6)
    shutil.copytree(root / "poor", root / "run" / "evaluation")
    return root


@pytest.fixture
def here(evaluations, tmp_path, monkeypatch):
    shutil.copytree(evaluations, tmp_path / "x")
    monkeypatch.chdir(tmp_path / "x")
    return tmp_path / "x"


def test_a_clear_winner_is_named(here, capsys):
    assert main(["compare", "poor", "good"]) == 0
    assert "good is better than poor: map@r +0." in capsys.readouterr().out


def test_a_winner_inside_the_noise_is_not(here, capsys):
    assert main(["compare", "good", "again"]) == 0
    said = capsys.readouterr().out
    assert "cannot tell" in said
    assert "is better" not in said


def test_many_in_one_table_with_files(here, capsys):
    assert main(["compare", "poor", "good", "again", "out=compared"]) == 0
    said = capsys.readouterr().out
    assert "cannot tell which is best" in said
    assert said.splitlines()[-1] == "compared"
    table = pl.read_csv("compared/compare.csv")
    assert set(table["run"][:2]) == {"good", "again"}
    assert table["run"][2] == "poor"
    assert table["map@r"].is_sorted(descending=True)
    assert table["map@r_against_first"].to_list() == ["", "cannot tell", "worse"]
    for name in table["run"]:
        metrics = json.loads((here / name / "metrics.json").read_text())
        row = table.row(by_predicate=pl.col("run") == name, named=True)
        assert (row["map@r"], row["map@r_low"], row["map@r_high"]) == tuple(metrics["map@r"].values())
    pairs = pl.read_csv("compared/pairs.csv")
    assert len(pairs) == 6
    assert (here / "compared" / "compare.html").read_text().startswith("<!doctype html>")
    page = (here / "compared" / "compare.md").read_text()
    assert page.count("\n| ") == 3
    for picture in ("map_at_r.png", "recall_at_1.png"):
        assert picture in page
        assert Image.open(here / "compared" / picture).width > 500


def test_the_metric_that_orders_can_be_chosen(here):
    found = compare_evaluations(["poor", "good"], ["precision@5"])
    assert list(found.differences) == ["precision@5"]
    good, poor = (
        pl.read_parquet(f"{name}/per_query.parquet")["precision@5"].mean() for name in ("good", "poor")
    )
    assert found.differences["precision@5"][0].mean == pytest.approx(poor - good)
    assert found.names == ["good", "poor"]


def test_metrics_of_all_pairs_are_tested_by_identity(here, capsys):
    assert main(["compare", "poor", "good", "metric=['tar@far=0.001',auc]", "out=pairs"]) == 0
    said = capsys.readouterr().out
    assert "good is better than poor: tar@far=0.001 +0." in said
    assert "60 identities; paired by their contributions to the metric" in said
    table = pl.read_csv("pairs/pairs.csv")
    for name in ("tar@far=0.001", "auc"):
        good, poor = (json.loads((here / run / "metrics.json").read_text())[name] for run in ("good", "poor"))
        row = table.row(by_predicate=pl.col("metric") == name, named=True)
        assert row["difference"] == pytest.approx(poor["value"] - good["value"], abs=1e-6)
        assert row["second_is"] == "worse"
    assert (here / "pairs" / "tar_at_far=0.001.png").is_file()
    assert main(["compare", "good", "again", "metric=[auc]"]) == 0
    assert "cannot tell" in capsys.readouterr().out


def test_less_errors_are_better(here):
    for name in ("good", "poor"):
        table = pl.read_parquet(f"{name}/per_identity.parquet")
        table.with_columns(eer=1 - pl.col("auc")).write_parquet(f"{name}/per_identity.parquet")
        metrics = json.loads((here / name / "metrics.json").read_text())
        metrics["eer"] = {"value": 1 - metrics["auc"]["value"]}
        (here / name / "metrics.json").write_text(json.dumps(metrics))
    found = compare_evaluations(["poor", "good"], ["eer"])
    assert found.names == ["good", "poor"]
    assert found.differences["eer"][0].mean > 0
    assert found.differences["eer"][0].verdict == "worse"
    assert found.leaders("eer") == [0]


def test_evaluations_without_queries_are_compared_by_identity(here):
    for name in ("good", "poor"):
        (here / name / "per_query.parquet").unlink()
    found = compare_evaluations(["poor", "good"], ["auc"])
    assert (found.queries, found.identities) == (0, 60)
    with pytest.raises(LookalikeError, match="not a per-query or per-identity metric"):
        compare_evaluations(["poor", "good"], ["map@r"])


def test_other_identities_are_refused_unless_forced(here):
    table = pl.read_parquet("poor/per_identity.parquet")
    table[:50].write_parquet("poor/per_identity.parquet")
    with pytest.raises(LookalikeError, match="different identities: 10 of 60 in good"):
        compare_evaluations(["poor", "good"], ["auc"])
    assert compare_evaluations(["poor", "good"], ["auc"], force=True).identities == 50


def test_a_run_folder_stands_for_its_evaluation(here, capsys):
    assert main(["compare", "run", "good"]) == 0
    assert "good is better than run" in capsys.readouterr().out


def test_a_dataset_that_moved_is_still_the_same(here):
    per_query = pl.read_parquet("poor/per_query.parquet")
    moved = per_query.with_columns(path="/elsewhere/" + pl.col("path").str.split("/").list.last())
    moved.write_parquet("poor/per_query.parquet")
    assert compare_evaluations(["poor", "good"], ["map@r"]).notes == []


def test_two_protocols_are_refused_unless_forced_and_then_said(here, capsys):
    metrics = json.loads((here / "poor" / "metrics.json").read_text())
    (here / "poor" / "metrics.json").write_text(json.dumps({**metrics, "protocol": "0ther"}))
    assert main(["compare", "poor", "good"]) == 1
    said = capsys.readouterr()
    assert "different protocols: 0ther (poor)" in said.err
    assert "is better" not in said.out
    assert main(["compare", "poor", "good", "force=true", "out=forced"]) == 0
    assert "NOT THE SAME TEST" in capsys.readouterr().out
    assert "NOT THE SAME TEST" in (here / "forced" / "compare.md").read_text()


def test_other_queries_are_refused_unless_forced(here, capsys):
    write_noisy_evaluation(here / "part", 1.0, labels=LABELS[:250])
    assert main(["compare", "part", "good"]) == 1
    assert "different queries: 50 of 300 in good are not in all evaluations" in capsys.readouterr().err
    assert compare_evaluations(["part", "good"], ["map@r"], force=True).queries == 250
    write_noisy_evaluation(here / "strange", 1.0, labels=LABELS[:250], name="others")
    with pytest.raises(LookalikeError, match="have no queries in common"):
        compare_evaluations(["strange", "good"], ["map@r"], force=True)


def test_other_labels_of_the_same_images_are_refused(here):
    write_noisy_evaluation(here / "renamed", 1.0, labels=(LABELS + 1) % 60)
    with pytest.raises(LookalikeError, match="different labels for the same images"):
        compare_evaluations(["renamed", "good"], ["map@r"])


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["good"], 2, "two evaluations or more"),
        (["good", "good"], 2, "occurs twice"),
        (["good", "nowhere"], 1, "nowhere: there is no such folder"),
        (["good", "good/embeddings"], 1, "lookalike evaluate"),
        (["good", "poor", "metric=[nmi]"], 2, "not a per-query or per-identity metric"),
        (["good", "poor", "metric=[mapr]"], 2, "these are: recall@1"),
        (["good", "poor", "out=good"], 1, "never overwritten"),
        (["good", "poor", "level=0.4"], 2, "level=0.4"),
        ([], 2, "compare needs runs="),
    ],
)
def test_what_cannot_be_compared_is_said(here, capsys, words, code, said):
    assert main(["compare", *words]) == code
    assert said in capsys.readouterr().err


def test_other_jobs_take_no_bare_words(capsys):
    assert main(["evaluate", "good"]) == 2
    assert "every argument is written key=value" in capsys.readouterr().err
