"""The index folder: vectors, their table, and which model they come from."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import yaml

from lookalike.data.table import Table
from lookalike.data.vectors import path_from, read_json, read_vectors, resolve_path, write_vectors
from lookalike.files import new_folder, write_text

ENGINE = "exact"


@dataclass(frozen=True, eq=False)
class Index:
    """A gallery that can be searched.

    Attributes:
        vectors: float32 [N, D], each of length 1.
        table: one row a vector.
        space: hash of the model; a query of another model is refused.
        model: folder of the model, where known.
    """

    vectors: np.ndarray
    table: Table
    space: str
    model: Path | None = None

    def save(self, folder: str | Path, metadata: Mapping[str, Any] | None = None) -> None:
        """Write index.json, vectors.npy, table.parquet and config.yaml.

        Raises:
            LookalikeError: `folder` exists.
        """
        folder, (size, dim) = Path(folder), self.vectors.shape
        facts = {"engine": ENGINE, "space": self.space, "dim": dim, "count": size}
        with new_folder(folder) as temporary:
            write_vectors(self.vectors, self.table, temporary, folder)
            facts["model"] = path_from(folder, self.model)
            write_text(temporary / "index.json", json.dumps(facts, indent=2) + "\n")
            metadata = metadata or {"made_by": "lookalike.search.index.Index.save"}
            write_text(
                temporary / "config.yaml", yaml.safe_dump(dict(metadata), sort_keys=False, allow_unicode=True)
            )

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """An index folder; vectors stay on disk until they are used.

        Raises:
            LookalikeError: a file is missing or does not fit the others.
        """
        folder = Path(folder)
        facts = read_json(folder, "index.json", "an index folder; `lookalike index` makes one")
        vectors, table = read_vectors(folder)
        return cls(vectors, table, str(facts["space"]), resolve_path(folder, facts.get("model")))
