"""evaluate on vectors of other tools, with PCA, expansion and re-ranking, and on several sets at once."""

import json

import numpy as np
import polars as pl
import pytest

from lookalike.cli.main import main
from lookalike.data.table import Table
from lookalike.embeddings import Embeddings
from lookalike.evaluation.evaluate import evaluate
from lookalike.evaluation.pca import Pca


def embeddings(folder, seed, images=150, identities=25, space="5pace"):
    rng = np.random.default_rng(seed)
    labels = np.sort(rng.integers(0, identities, images))
    vectors = rng.normal(size=(identities, 12))[labels] + rng.normal(size=(images, 12))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    role = np.where(np.arange(images) % 3 == 0, "query", "gallery")
    columns = {"path": [f"{row}.png" for row in range(images)], "label": labels, "split": ["test"] * images}
    frame = pl.DataFrame({**columns, "role": role})
    Embeddings(vectors.astype(np.float32), Table(frame, folder.parent / "photos"), space).save(folder)
    return folder


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    embeddings(tmp_path / "emb", 0)
    embeddings(tmp_path / "train", 1, images=300)
    return tmp_path


def run(*words):
    return main(["evaluate", *words, "progress=false", "far=0.1"])


def metrics(folder):
    return json.loads((folder / "metrics.json").read_text())


def test_a_file_of_another_tool_gives_the_same_numbers(here):
    assert run("embeddings=emb", "out=one") == 0
    given = Embeddings.load("emb")
    np.save("v.npy", given.vectors * 3)
    given.table.frame.select("label").write_csv("labels.csv")
    assert run("embeddings=v.npy", "labels=labels.csv", "out=two") == 0
    one, other = metrics(here / "one"), metrics(here / "two")
    for name, value in one.items():
        if isinstance(value, dict):
            assert other[name]["value"] == pytest.approx(value["value"], abs=1e-6), name
    assert one["queries"] == other["queries"]
    assert Embeddings.load("two/embeddings").space.startswith("file:")


def test_labels_are_for_files_only(here, capsys):
    given = Embeddings.load("emb")
    given.table.frame.select("label").write_csv("labels.csv")
    assert run("embeddings=emb", "labels=labels.csv", "out=x") == 2
    assert "labels of its own" in capsys.readouterr().err
    np.save("zero.npy", np.zeros((150, 3)))
    assert run("embeddings=zero.npy", "labels=labels.csv", "out=x") == 1
    assert "zero.npy: vectors: zero" in capsys.readouterr().err


def test_pca_is_learned_elsewhere_kept_and_reported_before_and_after(here, capsys):
    assert run("embeddings=emb", "out=plain") == 0
    capsys.readouterr()
    assert run("embeddings=emb", "out=pca", "pca.learn_on=train", "pca.dim=6", "pca.whiten=0.5") == 0
    said = capsys.readouterr().out
    plain, found = metrics(here / "plain"), metrics(here / "pca")
    assert found["before_map@r"] == plain["map@r"]
    learned = Pca.load(here / "pca" / "pca")
    vectors = Embeddings.load("emb").vectors
    direct = evaluate(learned(np.asarray(vectors)), Embeddings.load("emb").table.labels, far=0.1)
    assert found["map@r"]["value"] == pytest.approx(direct.metrics["map@r"]["value"], abs=1e-6)
    assert any(note.startswith("map@r after: ") for note in found["notes"])
    assert "pca to 6 dimensions, whiten=0.5, learned on 300" in said
    row = next(line for line in said.splitlines() if line.startswith("map@r\t"))
    assert [f"{found[name]['value']:.4f}" in row for name in ("map@r", "before_map@r")] == [True, True]
    assert "before_" not in said
    assert Embeddings.load("pca/embeddings").vectors.shape == (150, 6)
    assert Embeddings.load("pca/embeddings").space != "5pace"


def test_pca_needs_other_vectors_of_the_same_model(here, capsys):
    assert run("embeddings=emb", "out=x", "pca.dim=4") == 2
    assert "pca.learn_on=" in capsys.readouterr().err
    embeddings(here / "other", 2, space="0ther")
    assert run("embeddings=emb", "out=x", "pca.dim=4", "pca.learn_on=other") == 1
    assert "vectors of one model" in capsys.readouterr().err
    assert run("embeddings=emb", "out=x", "pca.dim=40", "pca.learn_on=train") == 1
    assert "fill 12 dimensions" in capsys.readouterr().err
    assert not (here / "x").exists()


def test_expansion_and_re_ranking_report_before_and_after(here):
    asked = ["expand.queries=3", "expand.gallery=2", "rerank.k1=10", "rerank.k2=3"]
    assert run("embeddings=emb", "out=x", "protocol=query_gallery", *asked) == 0
    found = metrics(here / "x")
    assert found["map"]["value"] != found["before_map"]["value"]
    assert "before_auc" in found
    assert "auc" not in found
    assert sum(note.startswith("after: ") for note in found["notes"]) == 3


def test_expansion_that_would_cheat_is_refused(here, capsys):
    assert run("embeddings=emb", "out=x", "expand.gallery=2") == 1
    assert "queries are in the gallery" in capsys.readouterr().err
    assert run("embeddings=emb", "out=x", "rerank.k1=1") == 2
    assert "k1 is at least 2" in capsys.readouterr().err


def test_several_in_one_call_make_one_table(here, capsys):
    embeddings(here / "two" / "emb2", 5, images=80)
    assert run("embeddings=[emb,two/emb2]", "each=true", "out=all") == 0
    assert capsys.readouterr().out.splitlines()[-1] == "all"
    table = pl.read_csv("all/table.csv")
    assert table["name"].to_list() == ["emb", "emb2"]
    for name, value in table.select("name", "map@r").iter_rows():
        assert metrics(here / "all" / name)["map@r"]["value"] == value
    assert (here / "all/table.md").read_text().count("\n") == 4
    path = pl.read_parquet("all/emb/per_query.parquet")["path"][0]
    assert (here / "all/emb" / path).resolve() == (here / "photos" / "0.png").resolve()
    assert run("embeddings=[emb,emb]", "each=true", "out=x") == 2
    assert run("embeddings=[emb,train]", "out=x") == 2
    assert run("embeddings=emb", "each=true", "out=x") == 2
    assert not (here / "x").exists()


def test_a_pca_is_not_learned_on_the_vectors_under_test(here, capsys):
    copies = Embeddings.load("emb")
    copies.save("copies")
    for learn_on in ("emb", "copies"):
        assert run("embeddings=emb", "out=x", f"pca.learn_on={learn_on}", "pca.dim=4") == 1
        assert "150 of the 150 vectors to evaluate" in capsys.readouterr().err
        assert not (here / "x").exists()


def test_files_of_two_tools_can_be_compared(here, capsys):
    """Vectors of the same images, each as .npy with the labels beside it, in folders of their own."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(30), 4)
    np.save("labels.npy", labels)
    centres, own = rng.normal(size=(30, 12))[labels], rng.normal(size=(120, 12))
    for name, noise in (("ours", 0.5), ("theirs", 1.5)):
        (here / name).mkdir()
        np.save(here / name / f"{name}.npy", centres + noise * own)
        assert run(f"embeddings={name}/{name}.npy", "labels=labels.npy", f"out=eval/{name}") == 0
    capsys.readouterr()
    assert main(["compare", "eval/ours", "eval/theirs"]) == 0
    assert "ours is better than theirs: map@r +" in capsys.readouterr().out


def test_the_table_of_several_has_columns_that_only_a_later_one_has(here):
    """The pairs of the first are too few for a rate of 0.01, those of the second are not."""
    embeddings(here / "few", 5, images=10, identities=2)
    assert (
        main(["evaluate", "embeddings=[few,emb]", "each=true", "out=all", "progress=false", "far=0.01"]) == 0
    )
    table = pl.read_csv("all/table.csv")
    assert table["name"].to_list() == ["few", "emb"]
    first, second = metrics(here / "all/few"), metrics(here / "all/emb")
    later = [name for name, value in second.items() if isinstance(value, dict) and name not in first]
    assert "tar@far=0.01" in later
    for name in later:
        assert table[name].to_list() == [None, second[name]["value"]]
    assert "tar@far=0.01" in (here / "all/table.md").read_text()


EVERY = "metric=[clustering,eer,effective_rank,alignment,uniformity,hubness,gap,best_decisions]"


def test_every_number_has_an_interval(here):
    assert run("embeddings=emb", "out=all", EVERY, "metric.hubness.k=3") == 0
    found = metrics(here / "all")
    numbers = {name: value for name, value in found.items() if isinstance(value, dict)}
    assert [name for name, value in numbers.items() if "low" not in value] == ["clusters"]
    for name in set(numbers) - {"clusters"}:
        assert numbers[name]["low"] <= numbers[name]["value"] <= numbers[name]["high"], name
    table = pl.read_parquet(here / "all" / "per_identity.parquet")
    assert {"auc", "eer", "gap", "tar@far=0.1"} <= set(table.columns)
    assert not {"nmi", "effective_rank", "alignment"} & set(table.columns)
    for name in table.columns[1:]:
        assert table[name].mean() == pytest.approx(numbers[name]["value"], abs=1e-9)


def test_intervals_of_a_list_are_by_identity_unless_it_contradicts_the_labels(here):
    labels = pl.read_parquet(here / "emb" / "table.parquet")["label"].to_list()
    lines = ["path,path,same,fold"]
    for row in range(0, 140, 2):
        lines += [f"{row}.png,{(row + step) % 150}.png,{{}},{row % 10}" for step in (1, 40)]
    rows = [(int(line.split(".")[0]), int(line.split(",")[1].split(".")[0])) for line in lines[1:]]
    same = [int(labels[one] == labels[other]) for one, other in rows]
    for file, said in (("pairs.csv", same), ("other.csv", [1 - same[0], *same[1:]])):
        body = [line.format(flag) for line, flag in zip(lines[1:], said, strict=True)]
        (here / file).write_text("\n".join([lines[0], *body]))
    words = ("embeddings=emb", "protocol=pairs", "metric=[eer,best_decisions]")
    assert run(*words, "protocol.file=pairs.csv", "out=list") == 0
    found = metrics(here / "list")
    for name in ("fold_accuracy", "eer", "auc", "best_f1", "tar@far=0.1"):
        assert found[name]["low"] <= found[name]["value"] <= found[name]["high"]
    assert run(*words, "protocol.file=other.csv", "out=contradicted") == 0
    found = metrics(here / "contradicted")
    assert "low" not in found["fold_accuracy"]
    assert any("says otherwise than the labels" in note for note in found["notes"])


def test_a_number_that_is_not_defined_is_absent_and_said(here):
    vectors = np.ones((20, 4), np.float32)
    np.save("same.npy", vectors)
    np.save("labels.npy", np.arange(20) // 2)
    words = ("embeddings=same.npy", "labels=labels.npy", "metric=[decided_at_far]")
    assert run(*words, "out=collapsed") == 0
    found = json.loads((here / "collapsed" / "metrics.json").read_text(), parse_constant=pytest.fail)
    assert "pair_precision@far=0.1" not in found
    assert any("no pair_precision@far=0.1" in note for note in found["notes"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["by=[colour]"], "by=[colour]: there is no such column"),
        (["protocol=reid"], "column group: the protocol reid needs it"),
        (["protocol=query_gallery"], "column role: the protocol query_gallery needs it"),
        (["split=val"], "none with two images"),
    ],
)
def test_what_the_table_lacks_is_said_before_anything_is_embedded(here, capsys, words, said):
    rows = {"path": ["0.png", "1.png", "2.png"], "label": ["a", "a", "b"], "split": ["test", "test", "val"]}
    pl.DataFrame(rows).write_csv("table.csv")
    for name in rows["path"]:
        (here / name).touch()
    assert run("model=nowhere", "dataset=table.csv", "out=e", *words) == 1
    assert said in capsys.readouterr().err, "and not that there is no such model"
