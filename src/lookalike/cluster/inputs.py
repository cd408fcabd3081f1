"""The photos to group, their vectors, and what is known of them."""

import logging
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from lookalike.data.columns import find_columns
from lookalike.data.object_table import as_table
from lookalike.data.reading import READERS, read_frame
from lookalike.data.table import Table
from lookalike.embeddings import Embeddings, embed, load_embeddings
from lookalike.errors import ConfigError, DataError, list_problems
from lookalike.metrics.inputs import unit_length
from lookalike.prepare.patch.reviewed import DIFFERENT, read_reviewed
from lookalike.ranking.agglomeration import Constraints, number_groups
from lookalike.search.gallery import load_model
from lookalike.search.query import find_photos

log = logging.getLogger(__name__)
UNLABELLED = "unlabelled"


@dataclass(frozen=True, eq=False)
class PhotoCollection:
    """Photos with their vectors.

    Attributes:
        embeddings: vectors and table.
        labelled: whether the labels of the table are the user's; groups are only compared with them.
        name: in messages.
        space: of the model; None if not known.
    """

    embeddings: Embeddings
    labelled: bool
    name: str = "the collection"

    @property
    def space(self) -> str:
        """Hash of the model."""
        return self.embeddings.space

    @property
    def model_folder(self) -> Path | None:
        """Folder of the model, where known."""
        return self.embeddings.model

    @property
    def table(self) -> Table:
        """One row per photo."""
        return self.embeddings.table


def read_source(
    source: Any, photos: Any, splits: Sequence[str] | None, device: Any, options: dict[str, Any]
) -> PhotoCollection:
    """The photos and vectors of the arguments of `lookalike.cluster`.

    Raises:
        DataError: they cannot be read.
        ValueError: a model without photos.
    """
    is_model = callable(source) and hasattr(source, "transform") and hasattr(source, "space")
    if is_model or (isinstance(source, str | Path) and photos is not None):
        table, labelled = read_photos(photos)
        return PhotoCollection(_embed(source, _of_splits(table, splits), device, options), labelled)
    if isinstance(source, str | Path):
        source = load_embeddings(Path(source), None, labelled=False)
    if not isinstance(source, Embeddings):
        unit = unit_length(source)
        labelled = photos is not None and "label" in photos.frame.columns
        table = Table(pl.DataFrame({"path": [f"vectors#{row}" for row in range(len(unit))]}))
        source = Embeddings(unit, _complete(photos or table), "vectors:")
    else:
        labelled = source.table.frame["label"].n_unique() < len(source)
    source = replace(source, table=_complete(source.table))
    if splits:
        source.table.split(*splits)  # says which splits there are
        source = source[source.table.frame["split"].is_in(splits).to_numpy()]
    return PhotoCollection(source, labelled)


def read_photos(photos: Any) -> tuple[Table, bool]:
    """The table of photos, which may have no labels, and whether it has.

    Args:
        photos: a `Table`, a dataset folder, a table file, a folder of photos, a list of photos, or several
            of the latter two.
    """
    if photos is None:
        raise ValueError("photos: a model needs photos: cluster(model, folder)")
    if isinstance(photos, Table) or not isinstance(photos, str | Path | list | tuple):
        table = photos if isinstance(photos, Table) else as_table(photos)
        return _complete(table), "label" in table.frame.columns
    if isinstance(photos, str | Path):
        file = Path(photos)
        tables = [file / f"table{end}" for end in READERS if (file / f"table{end}").is_file()]
        if tables or file.suffix.lower() in READERS:
            return _read_table(tables[0] if tables else file)
    paths = [str(path) for path in find_photos(photos)]
    return _complete(Table(pl.DataFrame({"path": paths}))), False


def _read_table(file: Path) -> tuple[Table, bool]:
    """A table file, which needs a column with paths and no other."""
    frame = read_frame(file)
    if "path" not in frame.columns:
        used = find_columns(frame, file, {}, ("path",)).used
        frame = frame.rename({used["path"]: "path"})
        log.info("%s: the column %r is the path of the photo", file, used["path"])
    if frame["path"].null_count() or not len(frame):
        raise DataError(f"{file}: has no rows, or rows without a path; remove them")
    return _complete(Table(frame, file.parent)), "label" in frame.columns


def _complete(table: Table) -> Table:
    """The table with the columns that vectors are stored with."""
    missing = {"label": UNLABELLED, "split": "test"}
    new = [pl.lit(value).alias(name) for name, value in missing.items() if name not in table.frame.columns]
    return replace(table, frame=table.frame.with_columns(*new)) if new else table


def _of_splits(table: Table, splits: Sequence[str] | None) -> Table:
    return table.split(*splits) if splits else table


def _embed(model: Any, table: Table, device: Any, options: dict[str, Any]) -> Embeddings:
    loaded = load_model(model, device)
    folder = model if isinstance(model, str | Path) else getattr(model, "folder", None)
    embeddings = embed(loaded, table, folder=folder, **options)
    if embeddings.skipped:
        count, listed = len(embeddings.skipped), list_problems(embeddings.skipped)
        log.warning("%d images cannot be read and are not grouped (skipped.csv):%s", count, listed)
    return embeddings


@dataclass(frozen=True, eq=False)
class Relations:
    """What is known of pairs of photos.

    Attributes:
        together: columns whose equal values mean one individual.
        same: pairs of one individual, as rows or paths.
        different: pairs of two individuals, as rows or paths.
    """

    together: Sequence[str] = ()
    same: Sequence[tuple[Any, Any]] = ()
    different: Sequence[tuple[Any, Any]] = ()
    notes: list[str] = field(default_factory=list)

    def constraints(self, table: Table) -> Constraints:
        """The relations as rows of a table.

        Raises:
            ConfigError: there is no such column.
            DataError: a pair names a photo that is not in the table.
        """
        rows = _RowNumbers(table)
        pairs = [(rows.find(a), rows.find(b)) for a, b in self.same]
        for column in self.together:
            if column in table.frame.columns:
                pairs += _equal_rows(table.frame[column])
            elif column != "encounter":
                raise ConfigError(f"together={column}: there is no such column in {table.folder}")
        groups = _components(len(table), pairs)
        conflicts = [(rows.find(a), rows.find(b)) for a, b in self.different]
        conflicts += _reviewed_conflicts(table)
        for row in {a for a, b in conflicts if groups[a] == groups[b]}:
            members = np.flatnonzero(groups == groups[row])
            text = f"{table.frame['path'][row]} and others of its group were decided to be different"
            self.notes.append(f"{text}; these {len(members)} photos are grouped by their similarity alone")
            groups[members] = groups.max() + 1 + np.arange(len(members))
        joined = len(groups) - len(np.unique(groups))
        if joined:
            names = ", ".join([*self.together, *(["same="] if self.same else [])])
            self.notes.append(
                f"{joined} photos stay with others because of {names}; together=[] ignores columns"
            )
        if conflicts:
            self.notes.append(f"{len(conflicts)} pairs are kept apart")
        return Constraints(number_groups(groups), conflicts)


class _RowNumbers:
    """Finds rows by number or path."""

    def __init__(self, table: Table):
        self.table = table
        files = [str(table.file(row)) for row in range(len(table))]
        self.rows: dict[Hashable, int] = {path: row for row, path in enumerate(files)}
        self.rows |= {path: row for row, path in enumerate(table.frame["path"].to_list())}

    def find(self, photo: Any) -> int:
        """The row of a photo."""
        if isinstance(photo, int | np.integer) and 0 <= photo < len(self.table):
            return int(photo)
        if str(photo) in self.rows:
            return self.rows[str(photo)]
        raise DataError(f"same/different: {photo} is not a photo of {self.table.folder}, by row or path")


def _equal_rows(column: pl.Series) -> list[tuple[int, int]]:
    """Pairs that connect the rows of each value; nulls and empty texts have none."""
    first: dict[Hashable, int] = {}
    values = [None if value == "" else value for value in column.to_list()]
    return [(first.setdefault(value, row), row) for row, value in enumerate(values) if value is not None]


def _components(count: int, pairs: Sequence[tuple[int, int]]) -> np.ndarray:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    one, other = np.array(pairs, np.int64).reshape(-1, 2).T
    graph = coo_array((np.ones(len(one)), (one, other)), shape=(count, count))
    return connected_components(graph, directed=False)[1].astype(np.int64)


def _reviewed_conflicts(table: Table) -> list[tuple[int, int]]:
    """Pairs of rows that a review of this table found to be different."""
    frame = read_reviewed(table.folder).get(DIFFERENT)
    if frame is None:
        return []
    rows: dict[str, list[int]] = {}
    for row, path in enumerate(table.frame["path"].to_list()):
        rows.setdefault(path, []).append(row)
    listed = frame.select("path_a", "path_b").iter_rows()
    return [(a, b) for one, other in listed for a in rows.get(one, []) for b in rows.get(other, []) if a != b]
