"""Entries in Qdrant: a server, a cluster, or a folder for trying out."""

import json
import os
import uuid
from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from lookalike.errors import LookalikeError
from lookalike.search.engines.base import Entry, Filter, Match, literal_groups, rank_entries
from lookalike.search.engines.remote import RemoteEngine

POINTS_PER_CALL = 2_000
IDS_PER_CALL = 5_000
EF = 200
POINTS = uuid.UUID("5f0c4c58-5a1f-4f0e-9d53-2f6a1c1b7e7d")
"""Qdrant has numbers and UUIDs as ids: that of an entry is made of its id, within this namespace."""
PURGE = "Qdrant removes the data from its files when its optimizer rewrites the segments"
_local: dict[str, tuple[Any, int]] = {}
"""Clients of folders with the number of engines that use them: a folder can be opened only once."""


class QdrantEngine(RemoteEngine):
    """A collection of Qdrant.

    Args are those of `RemoteEngine`; `uri` is an address, a folder, or ":memory:". A key is read from the
    environment variable QDRANT_API_KEY.
    """

    _shared: Any = None

    def _connect(self) -> None:
        try:
            from qdrant_client import QdrantClient
        except ImportError as error:
            raise LookalikeError(
                "engine=qdrant needs qdrant-client: pip install 'lookalike[qdrant]'"
            ) from error
        self.is_local = "://" not in self.uri
        self.client: Any
        if not self.is_local:
            self.client = QdrantClient(
                self.uri, timeout=max(1, int(self.timeout)), api_key=os.environ.get("QDRANT_API_KEY")
            )
            return
        client, users = _local.get(self.uri, (None, 0))
        if client is None:
            client = QdrantClient(self.uri) if self.uri == ":memory:" else QdrantClient(path=self.uri)
        _local[self.uri] = (client, users + 1)
        self.client = client

    def _facts(self) -> tuple[int, str] | None:
        if not self.client.collection_exists(self.name):
            return None
        config = self.client.get_collection(self.name).config
        size = getattr(config.params.vectors, "size", None)
        if size is None:
            raise LookalikeError(f"{self}: is a collection of another program; name= chooses another")
        return int(size), str((config.metadata or {}).get("space", ""))

    def _create(self) -> None:
        from qdrant_client import models

        self.client.create_collection(
            self.name,
            vectors_config=models.VectorParams(size=self.dim, distance=models.Distance.COSINE),
            metadata={"space": self.space},
        )
        if not self.is_local:
            self.client.create_payload_index(self.name, "label", models.PayloadSchemaType.KEYWORD)

    def _write(self, entries: Sequence[Entry], vectors: np.ndarray, replacing: bool) -> None:
        from qdrant_client import models

        present = self._points([entry.id for entry in entries], ["number"]) if replacing else []
        numbers = {each.id: each.payload["number"] for each in present}
        keys = [_key(entry.id) for entry in entries]
        points = [
            models.PointStruct(
                id=key,
                vector=vector.tolist(),
                payload={
                    "id": entry.id,
                    "label": entry.label,
                    "attributes": json.loads(json.dumps(dict(entry.attributes), default=str)),
                    "number": numbers.get(key, number),
                },
            )
            for key, entry, vector, number in zip(
                keys, entries, vectors, self._next_numbers(len(entries)), strict=True
            )
        ]
        for start in range(0, len(points), POINTS_PER_CALL):
            self.client.upsert(self.name, points[start : start + POINTS_PER_CALL], wait=True)

    def _points(self, ids: Sequence[str], payload: list[str] | bool, vectors: bool = False) -> list[Any]:
        keys = [_key(each) for each in ids]
        return [
            point
            for start in range(0, len(keys), IDS_PER_CALL)
            for point in self.client.retrieve(
                self.name, keys[start : start + IDS_PER_CALL], with_payload=payload, with_vectors=vectors
            )
        ]

    def _existing(self, ids: Sequence[str]) -> list[str]:
        present = {point.id for point in self._points(ids, False)}
        return [each for each in ids if _key(each) in present]

    def _remove(self, ids: Sequence[str]) -> None:
        from qdrant_client import models

        for start in range(0, len(ids), IDS_PER_CALL):
            keys = [_key(each) for each in ids[start : start + IDS_PER_CALL]]
            self.client.delete(self.name, models.PointIdsList(points=keys), wait=True)

    def _count(self, filters: Filter | None, limit: int | None = None) -> int:
        return int(self.client.count(self.name, _condition(filters), exact=True).count)

    def _entries(
        self, filters: Filter | None, vectors: bool, ids: Sequence[str] | None = None
    ) -> list[Entry]:
        points = self._scroll(filters, vectors) if ids is None else self._points(ids, True, vectors)
        points.sort(key=lambda point: point.payload["number"])
        return [
            Entry(
                point.payload["id"],
                np.asarray(point.vector or (), np.float32),
                point.payload["label"],
                point.payload["attributes"],
            )
            for point in points
        ]

    def _scroll(self, filters: Filter | None, vectors: bool) -> list[Any]:
        points, offset = list[Any](), None
        while True:
            some, offset = self.client.scroll(
                self.name, _condition(filters), limit=POINTS_PER_CALL, offset=offset, with_vectors=vectors
            )
            points += some
            if offset is None:
                return points

    def _search(self, queries: np.ndarray, k: int, filters: Filter | None, exact: bool) -> list[list[Match]]:
        from qdrant_client import models

        if self.is_local and filters is not None:  # it would filter anew, and slowly, for each query
            return rank_entries(queries, self._entries(filters, True), k)
        params = models.SearchParams(exact=exact, hnsw_ef=None if exact else max(EF, 2 * k))
        requests = [
            models.QueryRequest(
                query=query.tolist(),
                filter=_condition(filters),
                params=None if self.is_local else params,
                limit=k,
                with_payload=["id", "label"],
            )
            for query in queries
        ]
        return [
            [
                Match(point.payload["id"], point.payload["label"], min(float(point.score), 1.0))
                for point in response.points
            ]
            for response in self.client.query_batch_points(self.name, requests)
        ]

    def _copy(self, snapshot: str) -> None:
        name = self._snapshot_name(snapshot)
        copy = type(self)(self.uri, name, self.dim, self.space, timeout=self.timeout, create=True)
        copy.add(self._entries(None, True))
        copy.close()

    def _set_alias(self, name: str, snapshot: str) -> None:
        from qdrant_client import models

        alias = f"{self.name}__alias_{name.encode().hex()}"
        create = models.CreateAlias(collection_name=self._snapshot_name(snapshot), alias_name=alias)
        self.client.update_collection_aliases([models.CreateAliasOperation(create_alias=create)])

    def _resolve(self, name: str) -> str:
        alias, prefix = f"{self.name}__alias_{name.encode().hex()}", self._snapshot_name("")
        for each in self.client.get_aliases().aliases:
            if each.alias_name == alias:
                return bytes.fromhex(each.collection_name.removeprefix(prefix)).decode()
        return name

    def _snapshot_name(self, snapshot: str) -> str:
        return f"{self.name}__snapshot_{snapshot.encode().hex()}"

    def _snapshots(self) -> list[str]:
        prefix = self._snapshot_name("")
        names = [each.name for each in self.client.get_collections().collections]
        return sorted(
            bytes.fromhex(name.removeprefix(prefix)).decode() for name in names if name.startswith(prefix)
        )

    def _open(self, snapshot: str) -> Self:
        name = self._snapshot_name(snapshot)
        return type(self)(self.uri, name, self.dim, self.space, timeout=self.timeout, large=self.large)

    def _drop(self) -> None:
        for name in [*map(self._snapshot_name, self._snapshots()), self.name]:
            self.client.delete_collection(name)

    def _purge(self) -> str | None:
        return None if self.uri == ":memory:" else PURGE

    def _explain(self, error: Exception) -> str | None:
        import httpx
        from qdrant_client.http.exceptions import ApiException

        if isinstance(error, ApiException | httpx.HTTPError | OSError):
            return f"Qdrant does not answer, or refuses: {error}."
        if isinstance(error, RuntimeError) and "already accessed" in str(error):
            return "another process has opened this folder; a Qdrant server takes several."
        return None

    def close(self) -> None:
        """See `Engine`."""
        if not self.is_local:
            self.client.close()
            return
        client, users = _local.get(self.uri, (None, 0))
        if users > 1:
            _local[self.uri] = (client, users - 1)
        elif self.uri != ":memory:":
            _local.pop(self.uri, None)
            self.client.close()


def _key(name: str) -> str:
    return str(uuid.uuid5(POINTS, name))


def _condition(filters: Filter | None) -> Any:
    from qdrant_client import models

    must = list[Any]()
    for key, values in (filters or {}).items():
        field = key if key == "label" else f'attributes."{key}"'
        options = [each for group in literal_groups(values) for each in _field_conditions(field, group)]
        if any(value is None for value in values):
            options.append(models.IsEmptyCondition(is_empty=models.PayloadField(key=field)))
        must.append(models.Filter(should=options) if options else models.HasIdCondition(has_id=[]))
    return models.Filter(must=must) if must else None


def _field_conditions(field: str, group: list[Any]) -> list[Any]:
    """Conditions for values of one type; Qdrant compares numbers that may be fractions as ranges."""
    from qdrant_client import models

    if isinstance(group[0], str):
        return [models.FieldCondition(key=field, match=models.MatchAny(any=group))]
    if isinstance(group[0], bool):
        return [models.FieldCondition(key=field, match=models.MatchValue(value=value)) for value in group]
    return [models.FieldCondition(key=field, range=models.Range(gte=value, lte=value)) for value in group]
