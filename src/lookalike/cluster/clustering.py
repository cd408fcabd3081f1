"""From photos to groups with names."""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lookalike.cluster.inputs import PhotoCollection, Relations
from lookalike.cluster.result import Clustering, compare_labels, measure_rows
from lookalike.embeddings import Embeddings
from lookalike.errors import LookalikeError
from lookalike.evaluation.census import IndividualCount, count_individuals, group_photos
from lookalike.evaluation.identification import IdentificationPoint
from lookalike.evaluation.validation_vectors import ANONYMOUS, Validation, find_validation_vectors
from lookalike.ranking.agglomeration import Constraints, agglomerate, number_groups
from lookalike.search.hits import Hits
from lookalike.search.identify import identification_point, pool_hits
from lookalike.search.index import Index

log = logging.getLogger(__name__)
UNKNOWN = re.compile(r"new-(\d+)")


def cluster_photos(
    collection: PhotoCollection,
    relations: Relations,
    *,
    index: Index | str | Path | None = None,
    fpir: float = 0.01,
    threshold: float | None = None,
    validation: Validation = None,
    seed: int = 0,
) -> Clustering:
    """Group photos; see `lookalike.cluster`."""
    if threshold is not None and not -1 <= threshold <= 1:
        raise ValueError(f"threshold={threshold:g}: must be from -1 to 1")
    embeddings, size = collection.embeddings, len(collection.embeddings)
    constraints, notes = relations.constraints(embeddings.table), relations.notes
    index = Index.load(index) if isinstance(index, str | Path) else index
    probes = _find_probes(collection, index, validation, needed=threshold is None)
    unit, names = np.asarray(embeddings.vectors, np.float32), list[str]()
    naming: IdentificationPoint | None = None
    if index is not None:
        _check_space(collection, index)
        namer = _Namer(index, fpir, threshold, probes)
        constraints, names = namer.add_enrolled(embeddings, constraints), namer.names
        naming = namer.points.get(1)
        unit = np.concatenate([unit, np.asarray(index.vectors, np.float32)])
    point: IdentificationPoint | None = None
    if threshold is None and probes is not None:
        codes, point = group_photos(unit, probes, fpir, constraints)
        used = point.threshold
    else:
        used = 1.0 if threshold is None else threshold
        codes = agglomerate(unit, used, constraints)
    for note in notes:
        log.info("%s", note)
    labels = _name_groups(codes, size, constraints, names, _first_free(index))
    counted = number_groups(codes[:size])
    count = None if probes is None else count_individuals(counted, used, probes, seed)
    return Clustering(
        table=embeddings.table,
        names=labels,
        measures=measure_rows(unit, codes, labels),
        threshold=used,
        point=point,
        naming=naming,
        known=frozenset(names),
        count=count or _bare_count(counted),
        agreement=compare_labels(collection, counted),
        vectors=embeddings.vectors,
        skipped=embeddings.skipped,
        notes=notes,
    )


def _find_probes(
    collection: PhotoCollection, index: Index | None, validation: Validation, needed: bool
) -> tuple[np.ndarray, np.ndarray] | None:
    """Validation vectors of the model of the photos, or of the index; None if none are there or needed."""
    source = index if collection.model_folder is None and index is not None else collection
    try:
        return find_validation_vectors(source, validation)
    except LookalikeError as error:
        if not needed and validation is None:
            return None
        raise LookalikeError(f"{error}; or set a similarity yourself with threshold=") from error


def _bare_count(codes: np.ndarray) -> IndividualCount:
    groups = int(codes.max(initial=-1)) + 1
    return IndividualCount(groups, float("nan"), float("nan"), float("nan"), float("nan"), False)


def _check_space(collection: PhotoCollection, index: Index) -> None:
    spaces = (collection.space, index.space)
    if spaces[0] != spaces[1] and not any(space.startswith(ANONYMOUS) for space in spaces):
        raise LookalikeError(
            f"the photos have vectors of the model {spaces[0]}, and {index.name} holds those of {spaces[1]}; "
            "embed the photos with the model of the index"
        )


@dataclass(eq=False)
class _Namer:
    """Finds the photos that show enrolled identities.

    Attributes:
        index: the enrolled identities.
        fpir: as in `Index.identify`.
        threshold: in place of it.
        probes: validation vectors.
        points: by the number of pooled photos.
    """

    index: Index
    fpir: float
    threshold: float | None
    probes: tuple[np.ndarray, np.ndarray] | None

    def __post_init__(self) -> None:
        self.points: dict[int, IdentificationPoint] = {}
        labels = self.index.table.frame["label"].to_list()
        self.names = list(dict.fromkeys(map(str, labels)))
        number = {name: position for position, name in enumerate(self.names)}
        self.enrolled = np.array([number[str(label)] for label in labels], np.int64)

    def add_enrolled(self, embeddings: Embeddings, constraints: Constraints) -> Constraints:
        """The constraints of photos followed by enrolled photos; photos that are known are with theirs."""
        photos = Embeddings(embeddings.vectors, embeddings.table.relative_to("/"), self.index.space)
        size = len(photos)
        start = np.arange(size) if constraints.groups is None else constraints.groups
        groups = number_groups(start)
        owners, first = self._identify_groups(photos, groups)[groups], int(groups.max(initial=-1)) + 1
        conflicts = [
            (row, size + int(np.flatnonzero(self.enrolled == self.names.index(name))[0]))
            for row, refused in enumerate(self._find_rejections(photos))
            for name in refused
            if name in self.names
        ]
        return Constraints(
            np.concatenate([np.where(owners < 0, groups, first + owners), first + self.enrolled]),
            [*constraints.conflicts, *conflicts],
            np.concatenate([owners, self.enrolled]),
        )

    def _find_rejections(self, photos: Embeddings) -> list[set[str]]:
        """The rejected identities of each photo."""
        if not self.index.rejections:
            return []
        return self.index.rejections.of_photos(photos.table.frame["path"].to_list(), photos.vectors)

    def _identify_groups(self, photos: Embeddings, groups: np.ndarray) -> np.ndarray:
        """For each group, the number of the identity that `Index.identify` answers; −1 without any."""
        sizes = np.bincount(groups)
        owners = np.full(len(sizes), -1)
        alone = np.flatnonzero(sizes[groups] == 1)
        if len(alone):
            results = self.index.search(photos[alone], 1, by="label", threshold=1.0)
            owners[groups[alone]] = [self._owner([hits]) for hits in results]
        for group in np.flatnonzero(sizes > 1):
            rows = np.flatnonzero(groups == group)
            owners[group] = self._owner(
                self.index.search(photos[rows], len(self.names), by="label", threshold=1.0)
            )
        return owners

    def _owner(self, results: Sequence[Hits]) -> int:
        """The number of the identity that photos of one individual show."""
        size = len(results)
        if not all(results):
            return -1
        pooled = pool_hits(results)
        if not pooled:
            return -1
        nearest = pooled[0]
        if self.threshold is not None:
            is_known = nearest.similarity >= self.threshold
        else:
            if size not in self.points:
                self.points[size] = identification_point(self.index, self.fpir, self.probes, size)
            is_known = self.points[size].answer(nearest.similarity) == "known"
        return self.names.index(str(nearest.label)) if is_known else -1


def _first_free(index: Index | None) -> int:
    """The first number of a group that is not an unknown identity of the index."""
    labels = [] if index is None else map(str, index.table.frame["label"].to_list())
    return 1 + max((int(match[1]) for label in labels if (match := UNKNOWN.fullmatch(label))), default=0)


def _name_groups(
    codes: np.ndarray, size: int, constraints: Constraints, names: list[str], first: int
) -> list[str]:
    """The name of each photo's group; the largest of the unnamed ones come first."""
    owners = np.full(int(codes.max(initial=-1)) + 1, -1)
    if constraints.owners is not None:
        np.maximum.at(owners, codes, constraints.owners)
    counts = np.bincount(codes[:size], minlength=len(owners))
    order = [code for code in np.argsort(-counts, kind="stable") if owners[code] < 0]
    titles = {int(code): f"new-{first + rank}" for rank, code in enumerate(order)}
    titles |= {int(code): names[owners[code]] for code in np.flatnonzero(owners >= 0)}
    return [titles[code] for code in codes[:size].tolist()]
