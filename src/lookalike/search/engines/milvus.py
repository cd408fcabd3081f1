"""Entries in Milvus: a server, a cluster, or Milvus Lite for trying out."""

import json
import os
from collections.abc import Iterator, Sequence
from typing import Any, Self

import numpy as np

from lookalike.errors import LookalikeError
from lookalike.search.engines.base import Entry, Filter, Match, literal_groups, rank_entries
from lookalike.search.engines.remote import RemoteEngine

MAX_TEXT = 65_535
"""Bytes of an id or a label."""
FLOATS_PER_CALL = 1_000_000
IDS_PER_CALL = 1_000
ROWS_PER_CALL = 5_000
EF = 256
PURGE = (
    "Milvus removes the data from its files when it compacts and collects garbage, at the time that "
    "dataCoord.gc in its configuration says"
)


class MilvusEngine(RemoteEngine):
    """A collection of Milvus with an HNSW index, read after write (consistency level Strong).

    A token is read from the environment variable MILVUS_TOKEN. See `RemoteEngine` for the arguments.
    """

    max_k = 16_384

    def _connect(self) -> None:
        try:
            from pymilvus import MilvusClient
        except ImportError as error:
            raise LookalikeError("engine=milvus needs pymilvus: pip install 'lookalike[milvus]'") from error
        token = os.environ.get("MILVUS_TOKEN", "")
        self.client: Any = MilvusClient(self.uri, token=token, timeout=self.timeout)

    def _facts(self) -> tuple[int, str] | None:
        if not self.client.has_collection(self.name, timeout=self.timeout):
            return None
        described = self.client.describe_collection(self.name, timeout=self.timeout)
        vector = next((each for each in described["fields"] if each["name"] == "vector"), None)
        if vector is None:
            raise LookalikeError(f"{self}: is a collection of another program; name= chooses another")
        return int(vector["params"]["dim"]), str(described.get("description") or "")

    def _create(self) -> None:
        from pymilvus import DataType

        schema = self.client.create_schema(auto_id=False, description=self.space)
        schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=MAX_TEXT)
        schema.add_field("label", DataType.VARCHAR, max_length=MAX_TEXT)
        schema.add_field("attributes", DataType.JSON)
        schema.add_field("number", DataType.INT64)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=self.dim)
        index = self.client.prepare_index_params()
        index.add_index(
            "vector", index_type="HNSW", metric_type="IP", params={"M": 32, "efConstruction": 200}
        )
        self.client.create_collection(
            self.name,
            schema=schema,
            index_params=index,
            consistency_level="Strong",
            num_shards=1,
            timeout=self.timeout,
        )

    def _write(self, entries: Sequence[Entry], vectors: np.ndarray, replacing: bool) -> None:
        numbers: dict[str, int] = {}
        if replacing:
            rows = self._rows(self._id_expressions([entry.id for entry in entries]), ["id", "number"])
            numbers = {row["id"]: row["number"] for row in rows}
        records = [
            {
                "id": entry.id,
                "label": entry.label,
                "attributes": json.loads(json.dumps(dict(entry.attributes), default=str)),
                "number": numbers.get(entry.id, number),
                "vector": vector,
            }
            for entry, vector, number in zip(entries, vectors, self._next_numbers(len(entries)), strict=True)
        ]
        size, send = (
            max(1, FLOATS_PER_CALL // self.dim),
            self.client.upsert if numbers else self.client.insert,
        )
        for start in range(0, len(records), size):
            send(self.name, records[start : start + size], timeout=self.timeout)

    def _existing(self, ids: Sequence[str]) -> list[str]:
        present = {row["id"] for row in self._rows(self._id_expressions(ids), ["id"])}
        return [each for each in ids if each in present]

    def _remove(self, ids: Sequence[str]) -> None:
        for start in range(0, len(ids), IDS_PER_CALL):
            self.client.delete(self.name, ids=list(ids[start : start + IDS_PER_CALL]), timeout=self.timeout)

    def _count(self, filters: Filter | None, limit: int | None = None) -> int:
        rows = self.client.query(
            self.name, _expression(filters), output_fields=["count(*)"], timeout=self.timeout
        )
        return int(rows[0]["count(*)"])

    def _entries(
        self, filters: Filter | None, vectors: bool, ids: Sequence[str] | None = None
    ) -> list[Entry]:
        fields = ["id", "label", "attributes", "number", *(["vector"] if vectors else [])]
        expressions = [_expression(filters)] if ids is None else self._id_expressions(ids)
        rows = sorted(self._rows(expressions, fields), key=lambda row: row["number"])
        return [
            Entry(row["id"], np.asarray(row.get("vector", ()), np.float32), row["label"], row["attributes"])
            for row in rows
        ]

    def _rows(self, expressions: Sequence[str], fields: list[str]) -> Iterator[dict[str, Any]]:
        for expression in expressions:
            rows = self.client.query(
                self.name, expression, output_fields=fields, limit=self.max_k, timeout=self.timeout
            )
            yield from rows if len(rows) < self.max_k else self._many_rows(expression, fields)

    def _many_rows(self, expression: str, fields: list[str]) -> Iterator[dict[str, Any]]:
        """Rows of an expression that more entries meet than Milvus returns at once."""
        iterator = self.client.query_iterator(
            self.name, ROWS_PER_CALL, filter=expression, output_fields=fields, timeout=self.timeout
        )
        while rows := iterator.next():
            yield from rows
        iterator.close()

    def _search(self, queries: np.ndarray, k: int, filters: Filter | None, exact: bool) -> list[list[Match]]:
        if exact:
            return rank_entries(queries, self._entries(filters, True), k)
        results = self.client.search(
            self.name,
            list(queries),
            _expression(filters),
            limit=k,
            output_fields=["label"],
            search_params={"metric_type": "IP", "params": {"ef": max(EF, 2 * k)}},
            timeout=self.timeout,
        )
        return [
            [Match(hit["id"], hit["entity"]["label"], min(float(hit["distance"]), 1.0)) for hit in hits]
            for hits in results
        ]

    def _copy(self, snapshot: str) -> None:
        copy = type(self)(
            self.uri, self._snapshot_name(snapshot), self.dim, self.space, timeout=self.timeout, create=True
        )
        copy.add(self._entries(None, True))
        copy.close()

    def _set_alias(self, name: str, snapshot: str) -> None:
        alias, target = f"{self.name}__alias_{name.encode().hex()}", self._snapshot_name(snapshot)
        known = [each for other in self._snapshots() for each in self._aliases(self._snapshot_name(other))]
        change = self.client.alter_alias if alias in known else self.client.create_alias
        change(target, alias, timeout=self.timeout)

    def _aliases(self, collection: str) -> list[str]:
        return self.client.list_aliases(collection, timeout=self.timeout)["aliases"]

    def _resolve(self, name: str) -> str:
        alias = f"{self.name}__alias_{name.encode().hex()}"
        for snapshot in self._snapshots():
            if alias in self._aliases(self._snapshot_name(snapshot)):
                return snapshot
        return name

    def _snapshot_name(self, snapshot: str) -> str:
        return f"{self.name}__snapshot_{snapshot.encode().hex()}"

    def _snapshots(self) -> list[str]:
        prefix = self._snapshot_name("")
        names = self.client.list_collections(timeout=self.timeout)
        return sorted(
            bytes.fromhex(name.removeprefix(prefix)).decode() for name in names if name.startswith(prefix)
        )

    def _open(self, snapshot: str) -> Self:
        name = self._snapshot_name(snapshot)
        return type(self)(self.uri, name, self.dim, self.space, timeout=self.timeout, large=self.large)

    def _drop(self) -> None:
        for name in [*map(self._snapshot_name, self._snapshots()), self.name]:
            for alias in self._aliases(name):
                self.client.drop_alias(alias, timeout=self.timeout)
            self.client.drop_collection(name, timeout=self.timeout)

    def _purge(self) -> str | None:
        self.client.flush(self.name, timeout=self.timeout)
        self.client.compact(self.name, timeout=self.timeout)
        return PURGE

    def _explain(self, error: Exception) -> str | None:
        import grpc
        from pymilvus.exceptions import MilvusException

        if isinstance(error, MilvusException | grpc.RpcError | grpc.FutureTimeoutError):
            text = error.details() if isinstance(error, grpc.Call) else getattr(error, "message", error)
            return f"Milvus does not answer, or refuses: {text}."
        return None

    def close(self) -> None:
        """See `Engine`."""
        self.client.close()

    def _id_expressions(self, ids: Sequence[str]) -> list[str]:
        return [
            f"id in {_literals(ids[start : start + IDS_PER_CALL])}"
            for start in range(0, len(ids), IDS_PER_CALL)
        ]


def _expression(filters: Filter | None) -> str:
    parts = []
    for key, values in (filters or {}).items():
        if key == "label":
            parts.append(f"label in {_literals([value for value in values if isinstance(value, str)])}")
            continue
        subject = f"attributes[{_quote(key)}]"
        options = [f"{subject} in {_literals(group)}" for group in literal_groups(values)]
        if any(value is None for value in values):
            options.append(f"not exists {subject}")
        parts.append(f"({' or '.join(options)})" if options else "id in []")
    return " and ".join(parts)


def _literals(values: Sequence[Any]) -> str:
    return f"[{', '.join(map(_quote, values))}]"


def _quote(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
