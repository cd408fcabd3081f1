"""What is said when an engine at an address is down, slow, or holds something else."""

import socket

import numpy as np
import pytest

from lookalike.errors import LookalikeError
from lookalike.search.engines.base import Entry
from lookalike.search.engines.milvus import MilvusEngine
from lookalike.search.engines.postgres import PostgresEngine
from lookalike.search.engines.qdrant import QdrantEngine

KINDS = ("milvus", "postgres", "qdrant")
UNUSED = {
    MilvusEngine: "http://127.0.0.1:9",
    PostgresEngine: "postgresql://postgres@127.0.0.1:9/pets",
    QdrantEngine: "http://127.0.0.1:9",
}


@pytest.mark.parametrize("kind", KINDS)
def test_other_vectors_and_taken_names_are_refused(kind, make_engine):
    engine = make_engine(kind)
    for wrong, words in (
        ((8, "space"), "holds vectors of dimension 16, not 8"),
        ((16, "other"), "holds vectors of the model space, not of other"),
    ):
        with pytest.raises(LookalikeError, match=words) as caught:
            type(engine)(engine.uri, engine.name, *wrong, timeout=60)
        assert engine.uri in str(caught.value) and "name=" in str(caught.value)
    with pytest.raises(LookalikeError, match=r"exists already; name="):
        type(engine)(engine.uri, engine.name, 16, "space", timeout=60, create=True)
    with pytest.raises(LookalikeError, match="is not there"):
        type(engine)(engine.uri, "nothing", 16, "space", timeout=60)
    with pytest.raises(ValueError, match=r"queries \[1, 3\]: the index has vectors of dimension 16"):
        engine.search(np.ones(3), 1)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_of_a_forgotten_identity_is_found(kind, make_engine):
    engine = make_engine(kind)
    vectors = np.eye(16, dtype=np.float32)
    engine.add([Entry(f"e{row}", vector, f"cat{row % 2}") for row, vector in enumerate(vectors)])
    engine.snapshot("monday")
    engine.relabel([("e0", "cat0", "dog"), ("e1", "cat0", "dog")])
    assert engine.filter({"label": ["dog"]}) == ["e0"] and engine.filter()[0] == "e0"
    assert engine.forget("cat1") == 8
    dog = engine.entries({"label": ["dog"]})[0]
    np.testing.assert_allclose(dog.vector, vectors[0], atol=1e-6)
    monday = engine.open_snapshot("monday")
    for each in (engine, monday):
        assert each.count({"label": ["cat1"]}) == 0
        assert all(match.label != "cat1" for match in each.search(vectors[1], 16)[0])
    monday.close()


@pytest.mark.parametrize("engine", UNUSED)
def test_an_engine_that_is_down_is_named_in_one_line(engine):
    with pytest.raises(LookalikeError) as caught:
        engine(UNUSED[engine], "pets", 16, timeout=1)
    message = str(caught.value)
    assert UNUSED[engine] in message and "uri=" in message and "\n" not in message


@pytest.mark.parametrize("engine", UNUSED)
def test_an_engine_that_does_not_answer_is_given_up(engine):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = UNUSED[engine].replace(":9", f":{silent.getsockname()[1]}")
        with pytest.raises(LookalikeError, match=r"timeout="):
            engine(uri, "pets", 16, timeout=1)
