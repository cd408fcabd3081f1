"""Engines at an address; each server is started once, by the first test that needs it."""

from contextlib import ExitStack
from uuid import uuid4

import pytest
from tests.search.engine_servers import milvus_server, postgres_server

from lookalike.search.engines.milvus import MilvusEngine
from lookalike.search.engines.postgres import PostgresEngine
from lookalike.search.engines.qdrant import QdrantEngine

CLASSES = {"milvus": MilvusEngine, "postgres": PostgresEngine, "qdrant": QdrantEngine}
SERVERS = {"milvus": milvus_server, "postgres": postgres_server}


def drop(kind, uri, name):
    engine = CLASSES[kind](uri, name, 16, timeout=60)
    engine.drop()
    engine.close()


@pytest.fixture(scope="session")
def engine_uri(tmp_path_factory):
    """Address of an engine by its name."""
    addresses = {"qdrant": ":memory:"}
    with ExitStack() as servers:

        def address(name):
            if name not in addresses:
                addresses[name] = servers.enter_context(SERVERS[name](tmp_path_factory.mktemp(name)))
            return addresses[name]

        yield address


@pytest.fixture
def make_engine(engine_uri):
    """Makes empty engines of dimension 16 under new names, and drops them."""
    with ExitStack() as made:

        def make(kind, uri=None, **options):
            name, uri = f"test_{uuid4().hex[:8]}", uri or engine_uri(kind)
            engine = CLASSES[kind](uri, name, 16, "space", timeout=60, create=True, **options)
            made.callback(drop, kind, uri, name)
            return engine

        yield make
