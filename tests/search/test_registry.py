"""An index that changes: enrolments survive a kill, what is forgotten leaves nothing."""

import subprocess
import sys
import time

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image

import lookalike
from lookalike.cli.main import main
from lookalike.data.table import Table, write_table
from lookalike.data.transforms import Resize
from lookalike.errors import LookalikeError
from lookalike.evaluation.validation_vectors import write_validation_vectors
from lookalike.model import backbones, heads, pooling
from lookalike.model.embedder import build
from lookalike.search.registry import Registry

DIM = 8


def unit_vectors(size, seed=0):
    vectors = np.random.default_rng(seed).normal(size=(size, DIM)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture
def folder(tmp_path):
    """An index of three identities with two photos each."""
    labels = ["tom", "tom", "kitty", "kitty", "felix", "felix"]
    lookalike.Index.build(unit_vectors(6), labels, out=tmp_path / "index", engine="sqlite")
    return tmp_path / "index"


def test_it_is_searched_like_any_index_and_changes(folder):
    index = lookalike.Index.load(folder)
    exact = lookalike.Index.build(unit_vectors(6), list("aabbcc"))
    np.testing.assert_allclose(index.vectors, exact.vectors, atol=1e-7)
    assert [hit.row for hit in index.search(unit_vectors(6)[3], 6)] == [
        hit.row for hit in exact.search(unit_vectors(6)[3], 6)
    ]
    fresh = unit_vectors(4, seed=1)
    with Registry(folder) as registry:
        assert registry.enrol(fresh[:2], "molly") == "molly"
        assert registry.enrol(fresh[:2], "molly") == "molly"  # the same photos once more
        assert [registry.enrol(fresh[2]), registry.enrol(fresh[3])] == ["new-1", "new-2"]
        assert registry.identities() == {"tom": 2, "kitty": 2, "felix": 2, "molly": 2, "new-1": 1, "new-2": 1}
        with pytest.raises(ValueError, match=r"a vector \[3\]"):
            registry.enrol(np.ones((1, 3)), "molly")
        with pytest.raises(ValueError, match="paths: 2 of them for 1"):
            registry.enrol(fresh[:1], "molly", ["a", "b"])
    again = lookalike.Index.load(folder)
    assert again.search(fresh[2], 1)[0].label == "new-1" and len(again) == 10


def test_a_folder_index_does_not_change_and_says_how_to_get_one_that_does(tmp_path):
    lookalike.Index.build(unit_vectors(2), ["a", "b"], out=tmp_path / "index")
    with pytest.raises(LookalikeError, match="engine=sqlite"):
        Registry(tmp_path / "index")


def test_an_unknown_gets_a_number_that_no_identity_of_the_index_has(tmp_path):
    lookalike.Index.build(unit_vectors(3), ["new-1", "new-3", "tom"], out=tmp_path / "index", engine="sqlite")
    with Registry(tmp_path / "index") as registry:
        assert [registry.enrol(vector) for vector in unit_vectors(2, seed=1)] == ["new-2", "new-4"]


def test_decisions_are_appended_carried_out_and_undone(folder):
    with Registry(folder) as registry:
        ids = {entry.id: entry.label for entry in registry.engine.entries()}
        tom = [name for name, label in ids.items() if label == "tom"]
        kitty = [name for name, label in ids.items() if label == "kitty"]
        registry.enrol(unit_vectors(1, 9))
        merge = registry.decide("merge", "new-1", "oscar", "ann")  # a name replaces an unknown
        assert registry.identities()["oscar"] == 1
        registry.decide("merge", "felix", "tom", "ann")
        assert registry.identities() == {"tom": 4, "kitty": 2, "oscar": 1}
        registry.decide("split", tom, "thomas", "bob")
        registry.decide("same", kitty[0], "thomas", "bob")
        assert registry.identities() == {"tom": 2, "thomas": 3, "kitty": 1, "oscar": 1}
        different = registry.decide("different", kitty[1], "tom")
        assert registry.rejected_pairs() == {(kitty[1], "tom")}
        assert registry.undo(different) and registry.rejected_pairs() == set()
        registry.undo(merge, "ann")
        assert "new-1" in registry.identities()
        for wrong in (lambda: registry.undo(merge), lambda: registry.undo(99)):
            with pytest.raises(LookalikeError, match="there is no decision"):
                wrong()
        with pytest.raises(LookalikeError, match="there is no nobody"):
            registry.decide("same", "nobody", "tom")
        with pytest.raises(LookalikeError, match="tom is enrolled; a split needs a new name"):
            registry.decide("split", kitty[1], "tom")
        rows = registry.decisions()
        assert [row.kind for row in rows] == ["merge", "merge", "split", "same", "different", "undo", "undo"]
        assert (rows[0].author, rows[6].undoes, rows[0].time[:2]) == ("ann", merge, "20")
        for change in ("UPDATE decisions SET author = 'eve'", "DELETE FROM decisions"):
            with (
                pytest.raises(LookalikeError, match="only appended"),
                registry.engine.transaction() as cursor,
            ):
                cursor.execute(change)
        assert registry.enrol(unit_vectors(1, 10)) == "new-2"  # numbers are not used again


def test_nothing_of_a_forgotten_identity_remains(folder):
    secret = unit_vectors(40, seed=5)
    files = [f"secret{row}.jpg" for row in range(40)]
    with Registry(folder) as registry:
        registry.enrol(secret[:20], paths=files[:20])
        registry.engine.snapshot("before")
        registry.decide("merge", "new-1", "Mrs Secret")
        registry.enrol(secret[20:], "Mrs Secret", files[20:])
        registry.engine.snapshot("after")
        registry.decide("merge", "felix", "tom")
        kept = [entry.id for entry in registry.engine.entries()][:6]
        assert registry.forget("Mrs Secret") == 40
        assert registry.identities() == {"tom": 4, "kitty": 2}
        assert [row.subject for row in registry.decisions()] == ["felix"]
        assert registry.engine.filter() == kept
        contents = [file.read_bytes() for file in folder.rglob("*") if file.is_file()]
        assert len(contents) >= 4  # index.json, config.yaml, databases
        for content in contents:
            assert b"ecret" not in content
            assert not any(vector.tobytes() in content for vector in secret)
        with pytest.raises(LookalikeError, match="has no identity Mrs Secret"):
            registry.forget("Mrs Secret")
        registry.decide("merge", "kitty", "cat")  # decisions go on, and are protected again
        with pytest.raises(LookalikeError, match="only appended"), registry.engine.transaction() as cursor:
            cursor.execute("DELETE FROM decisions")


ENROL = """
import sys
import numpy as np
from lookalike.search.registry import Registry

vectors = np.random.default_rng(3).normal(size=(1000, 2, 8)).astype(np.float32)
with Registry(sys.argv[1]) as registry:
    for number, pair in enumerate(vectors):
        registry.enrol(pair, f"cat{number}")
        print(number, flush=True)
"""


def test_a_kill_during_enrolments_loses_none_that_was_acknowledged(folder):
    process = subprocess.Popen(
        [sys.executable, "-c", ENROL, folder], stdout=subprocess.PIPE, text=True, bufsize=1
    )
    assert process.stdout is not None
    acknowledged = [int(process.stdout.readline()) for _ in range(100)]
    time.sleep(0.01)
    process.kill()
    acknowledged += [int(line) for line in process.stdout.read().split("\n")[:-1]]
    process.wait()
    with Registry(folder) as registry:
        counts = registry.identities()
        assert registry.engine.connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        registry.enrol(unit_vectors(1, 7), "later")
    assert all(counts.pop(f"cat{number}") == 2 for number in acknowledged)
    for label in ("tom", "kitty", "felix"):
        counts.pop(label)
    assert list(counts.values()) in ([], [2])  # the one that was not acknowledged yet, and is whole
    vectors = np.random.default_rng(3).normal(size=(1000, 2, 8)).astype(np.float32)
    index = lookalike.Index.load(folder)
    assert index.search(vectors[acknowledged[-1], 1], 1)[0].label == f"cat{acknowledged[-1]}"


def test_the_jobs_enrol_identify_decide_and_forget(shapes_folder, tmp_path, monkeypatch, capsys):
    files = sorted(shapes_folder.rglob("*.png"))
    rows = {"path": list(map(str, files)), "label": [file.parent.name for file in files], "split": "test"}
    write_table(Table(pl.DataFrame(rows), shapes_folder), tmp_path / "data", {})
    torch.manual_seed(0)
    model = build(backbones.small_cnn([4, 4]), pooling.Native(), heads.Linear, DIM, Resize(16)).eval()
    model.save(tmp_path / "model")
    write_validation_vectors(unit_vectors(120), np.arange(120) // 2, model.space, tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    words = ["model=model", "dataset=data", "engine=sqlite", "out=index", "progress=false"]
    assert main(["index", *words]) == 0
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "stranger.png")
    (tmp_path / "bad.png").write_text("no photo")
    capsys.readouterr()
    assert main(["enrol", "index=index", "image=[stranger.png,bad.png]"]) == 0
    out, err = capsys.readouterr()
    assert out.strip() == "new-1" and "1 images cannot be read and are not enrolled" in err
    assert main(["decide", "index=index", "kind=merge", "subject=new-1", "identity=noisy", "author=ann"]) == 0
    assert main(["decide", "index=index", "kind=different", "subject=stranger.png", "identity=x"]) == 0
    assert main(["identify", "index=index", "image=stranger.png", "fpir=0.2"]) == 0
    out = capsys.readouterr().out
    assert "\tknown\tnoisy\t1.0000\t" in out
    assert main(["decide", "index=index", "kind=list"]) == 0
    assert "1\tmerge\tnew-1\tnoisy\t\tann\t" in capsys.readouterr().out
    assert main(["decide", "index=index", "kind=undo", "decision=2"]) == 0
    assert main(["decide", "index=index", "kind=undo"]) == 2
    assert main(["decide", "index=index", "kind=same"]) == 2
    assert main(["forget", "index=index", "identity=noisy"]) == 0
    assert main(["forget", "index=index", "identity=noisy"]) == 1
    assert main(["enrol", "index=index", "image=bad.png"]) == 1
    assert "noisy" not in lookalike.Index.load("index").table.labels
