"""What every engine has to do. A further engine joins by one line in ENGINES."""

import numpy as np
import pytest

from lookalike.search.engines import loaded
from lookalike.search.engines.base import Entry
from lookalike.search.engines.sqlite import SqliteEngine

DIM, SIZE = 16, 2000
ENGINES = {
    "sqlite": lambda make, folder: SqliteEngine(folder, DIM),
    "sqlite approximate": lambda make, folder: SqliteEngine(folder, DIM, large=100),
    "milvus": lambda make, folder: make("milvus"),
    "milvus approximate": lambda make, folder: make("milvus", large=10),
    "postgres": lambda make, folder: make("postgres"),
    "postgres approximate": lambda make, folder: make("postgres", large=10),
    "qdrant": lambda make, folder: make("qdrant"),
    "qdrant folder": lambda make, folder: make("qdrant", str(folder)),
}
"""Approximate: filtered searches use the index of the engine, too, unless very few entries pass."""

SIZES = {"qdrant folder": 200}  # it writes one point at a time


def unit_vectors(size, seed=0):
    vectors = np.random.default_rng(seed).normal(size=(size, DIM)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def entries_of(vectors, start=0):
    return [
        Entry(f"e{row}", vector, f"cat{row % 500}", {"camera": row % 7, "path": f"{row}.jpg"})
        for row, vector in enumerate(vectors, start)
    ]


@pytest.fixture(params=ENGINES)
def engine(request, tmp_path, make_engine):
    made = ENGINES[request.param](make_engine, tmp_path / "engine")
    yield made
    made.close()


def expected_ids(vectors, query, k, rows=None):
    rows = np.arange(len(vectors)) if rows is None else rows
    return [f"e{rows[row]}" for row in np.argsort(-(vectors[rows] @ query), kind="stable")[:k]]


def recall(matches, vectors, queries, k, rows=None):
    hits = [
        len({match.id for match in each} & set(expected_ids(vectors, query, k, rows)))
        for each, query in zip(matches, queries, strict=True)
    ]
    return sum(hits) / (k * len(queries))


def test_it_finds_the_nearest_with_and_without_filters(engine, request):
    size = SIZES.get(request.node.callspec.params["engine"], SIZE)
    vectors, queries = unit_vectors(size), unit_vectors(20, seed=1)
    engine.add(entries_of(vectors))
    found = engine.search(queries, 10)
    assert [len(each) for each in found] == [10] * 20
    assert recall(found, vectors, queries, 10) >= 0.99
    best = found[0][0]
    row = int(best.id[1:])
    assert best.similarity == pytest.approx(vectors[row] @ queries[0], abs=1e-5)
    assert best.label == f"cat{row % 500}"
    assert all(a.similarity >= b.similarity for a, b in zip(found[0], found[0][1:], strict=False))
    for share in (0.001, 0.01, 0.1, 0.5):  # of the identities
        labels = {f"cat{number}" for number in range(max(1, int(500 * share)))}
        rows = np.array([row for row in range(size) if f"cat{row % 500}" in labels])
        found = engine.search(queries, 10, {"label": labels})
        count = min(10, len(rows))
        assert [len(each) for each in found] == [count] * 20
        assert recall(found, vectors, queries, count, rows) >= 0.99
        assert engine.filter({"label": labels}) == [f"e{row}" for row in rows]
    both = {"label": ["cat3", "cat4"], "camera": [3]}
    rows = [row for row in range(size) if row % 500 in (3, 4) and row % 7 == 3]
    assert engine.filter(both) == [f"e{row}" for row in rows]
    assert engine.search(queries, 3, {"label": ["nobody"]}) == [[] for _ in queries]
    assert len(engine.search(queries[0], size + 5)[0]) == size


def test_it_adds_replaces_and_deletes_all_or_nothing(engine):
    vectors = unit_vectors(300)
    assert engine.search(vectors[:1], 5) == [[]]
    engine.add(entries_of(vectors[:200]))
    with pytest.raises(ValueError, match="e7: is there already"):
        engine.add([Entry("fresh", vectors[250], "x"), Entry("e7", vectors[250], "x")])
    assert len(engine.filter()) == 200 and "fresh" not in engine.filter()
    with pytest.raises(ValueError, match=r"a vector \[3\]"):
        engine.upsert([Entry("fresh", vectors[250], "x"), Entry("short", np.ones(3), "x")])
    assert len(engine.filter()) == 200
    engine.upsert([Entry("e7", 3 * vectors[250], "dog"), Entry("fresh", vectors[251], "dog")])
    assert engine.filter({"label": ["dog"]}) == ["e7", "fresh"]
    (match,) = engine.search(vectors[250], 1)[0]
    assert (match.id, match.label) == ("e7", "dog") and match.similarity == pytest.approx(1)
    assert engine.delete(["e7", "nobody"]) == 1
    assert engine.search(vectors[250], 1)[0][0].id != "e7"
    with pytest.raises(ValueError, match="k=0"):
        engine.search(vectors[0], 0)


def test_snapshots_stay_and_aliases_switch(engine):
    vectors = unit_vectors(150)
    engine.add(entries_of(vectors[:120]))
    engine.snapshot("monday")
    engine.add(entries_of(vectors[120:], 120))
    engine.snapshot("tuesday")
    engine.delete(["e0"])
    for name, size in (("monday", 120), ("tuesday", 150)):
        engine.alias("live", name)
        snapshot = engine.open_snapshot("live")
        assert len(snapshot.filter()) == size and snapshot.search(vectors[0], 1)[0][0].id == "e0"
        snapshot.close()
    assert len(engine.filter()) == 149
    for wrong in (lambda: engine.snapshot("monday"), lambda: engine.snapshot("../up")):
        with pytest.raises(ValueError, match="exists already, or is not"):
            wrong()
    with pytest.raises(ValueError, match="there are"):
        engine.alias("live", "sunday")
    with pytest.raises(ValueError, match="no such snapshot or alias"):
        engine.open_snapshot("sunday")


def test_without_faiss_numpy_finds_the_same(tmp_path, monkeypatch):
    vectors, queries = unit_vectors(SIZE), unit_vectors(5, seed=1)
    engine = SqliteEngine(tmp_path, DIM)
    engine.add(entries_of(vectors))
    with_faiss = engine.search(queries, 10)
    monkeypatch.setattr(loaded, "import_faiss", lambda: None)
    without = engine.search(queries, 10)
    assert [[m.id for m in each] for each in without] == [[m.id for m in each] for each in with_faiss]
    engine.close()


def test_two_connections_see_each_other(tmp_path):
    vectors = unit_vectors(20)
    one, other = SqliteEngine(tmp_path, DIM), SqliteEngine(tmp_path, DIM)
    assert other.filter() == []
    one.add(entries_of(vectors[:10]))
    assert len(other.filter()) == 10
    other.add(entries_of(vectors[10:], 10))
    assert len(one.filter()) == 20
    one.close()
    other.close()
