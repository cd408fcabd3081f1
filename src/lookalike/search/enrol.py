"""Enrolling photos: they are embedded, checked, and stored; and identifying with new ones enrolled."""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import polars as pl

from lookalike.data.table import Table
from lookalike.data.transforms import check_choice
from lookalike.embeddings import Embeddings
from lookalike.errors import DataError, Problem
from lookalike.evaluation.census import group_photos
from lookalike.evaluation.identification import FPIR
from lookalike.evaluation.validation_vectors import Validation, find_validation_vectors
from lookalike.ranking.agglomeration import agglomerate
from lookalike.search.gate import Gate, Remark, check_enrolment
from lookalike.search.hits import Hits
from lookalike.search.identify import Identification
from lookalike.search.index import Index
from lookalike.search.query import embed_photos
from lookalike.search.registry import Registry

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)
UNKNOWN = re.compile(r"new-\d+")
"""Names of identities that have no name yet."""


@dataclass(frozen=True)
class Enrolment:
    """What was enrolled.

    Attributes:
        identity: the name.
        photos: how many were enrolled.
        skipped: those that cannot be read.
        remarks: what speaks against photos, by their position among those that can be read.
        refused: files that were not enrolled because of it.
    """

    identity: str
    photos: int
    skipped: list[Problem]
    remarks: list[Remark] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


def enrol_photos(
    folder: str | Path,
    photos: Sequence[Path],
    identity: str | None = None,
    *,
    gate: Gate = "warn",
    validation: Validation = None,
    model: str | Path | None = None,
    device: "str | torch.device | None" = None,
    batch_size: int = 64,
) -> Enrolment:
    """Enrol photos of one identity in an index with `engine=sqlite`.

    Args:
        folder: the index.
        photos: files.
        identity: its name; "new-1", "new-2", … if None.
        gate: what happens to photos that are small, blurred, a copy of an enrolled photo, or like another
            identity: `warn` enrols them and logs why they should be looked at, `refuse` does not enrol them,
            `off` does not check.
        validation: as in `Index.identify`.
        model: a model folder, in place of the one that the index names.
        device: device to compute on.
        batch_size: photos per forward pass.

    Raises:
        DataError: no photo can be read, or all are refused.
        LookalikeError: the index does not change, or its model is missing or another one.
    """
    check_choice("gate", gate, get_args(Gate))
    with Registry(folder) as registry:
        index = Index.load(folder, model, device)
        boxes = [None] * len(photos)
        vectors, positions, problems = embed_photos(index.loaded_model, photos, boxes, batch_size)
        if not positions:
            raise DataError("no image to enrol can be read", problems)
        files = [str(photos[position]) for position in positions]
        remarks = [] if gate == "off" else check_enrolment(index, files, vectors, identity, validation)
        kept = pass_gate(files, remarks, gate)
        if not kept:
            refused = [Problem(files[each.photo], each.text) for each in remarks]
            raise DataError("no image is enrolled; gate=warn enrols them nonetheless", refused)
        name = registry.enrol(vectors[kept], identity, [files[row] for row in kept])
        refused_files = [file for row, file in enumerate(files) if row not in kept]
        return Enrolment(name, len(kept), problems, remarks, refused_files)


def pass_gate(files: Sequence[str], remarks: Sequence[Remark], gate: Gate) -> list[int]:
    """Positions of the photos to enrol; each remark is logged, with the key that changes what happens."""
    outcome = (
        "not enrolled; gate=warn enrols it" if gate == "refuse" else "enrolled; gate=refuse leaves it out"
    )
    for remark in remarks:
        log.warning("%s %s (%s)", files[remark.photo], remark.text, outcome)
    flagged = {remark.photo for remark in remarks} if gate == "refuse" else set()
    return [row for row in range(len(files)) if row not in flagged]


def identify_and_enrol(
    folder: str | Path,
    photos: Sequence[Path],
    *,
    gate: Gate = "warn",
    fpir: float = FPIR,
    validation: Validation = None,
    encounter: bool = False,
    k: int = 5,
    model: str | Path | None = None,
    device: "str | torch.device | None" = None,
    batch_size: int = 64,
    skipped: list[Problem] | None = None,
) -> list[Identification]:
    """Say who photos show, and enrol those of someone new, so that later photos are known.

    New photos are grouped by individual (average linkage at the threshold), and each group gets the next of
    the names new-1, new-2, …, which is the `identity` of its answers. Photos that are known as such an
    unknown are enrolled as further photos of it; photos of named identities, and unsure ones, are not.

    Args:
        folder: an index with `engine=sqlite`.
        photos: files.
        gate: as in `enrol_photos`.
        fpir: as in `Index.identify`.
        validation: as in `Index.identify`.
        encounter: whether all photos show the same one and get one answer.
        k: number of identities in `hits`.
        model: a model folder, in place of the one that the index names.
        device: device to compute on.
        batch_size: photos per forward pass.
        skipped: a list that receives the photos that cannot be read.

    Raises:
        DataError: no photo can be read, or some cannot and `skipped` is not given.
        LookalikeError: the index does not change, or there are no validation vectors.
    """
    check_choice("gate", gate, get_args(Gate))
    with Registry(folder) as registry:
        index = Index.load(folder, model, device)
        boxes = [None] * len(photos)
        vectors, positions, problems = embed_photos(index.loaded_model, photos, boxes, batch_size)
        if not positions or (problems and skipped is None):
            raise DataError("images cannot be read", problems)
        if skipped is not None:
            skipped.extend(problems)
        files = [str(photos[position]) for position in positions]
        options: dict[str, Any] = {"fpir": fpir, "validation": validation, "k": k}
        answers = _identify(index, vectors, files, encounter, options)
        enroller = _Enroller(registry, index, vectors, files, gate, validation)
        return enroller.enrol(answers, encounter)


def _identify(
    index: Index, vectors: np.ndarray, files: list[str], encounter: bool, options: dict[str, Any]
) -> list[Identification]:
    if len(index):
        table = Table(pl.DataFrame({"path": files, "label": "?", "split": "test"}))
        answers = index.identify(Embeddings(vectors, table, index.space), encounter=encounter, **options)
        return [answers] if encounter else answers
    probes = find_validation_vectors(index, options["validation"])
    point = group_photos(vectors, probes, options["fpir"])[1]
    images = [tuple(files)] if encounter else [(file,) for file in files]
    return [Identification("new", None, -1.0, Hits(), each, point) for each in images]


@dataclass(eq=False)
class _Enroller:
    """Enrols photos that are answered as new, or as an unknown."""

    registry: Registry
    index: Index
    vectors: np.ndarray
    files: list[str]
    gate: Gate
    validation: Validation

    def enrol(self, answers: list[Identification], encounter: bool) -> list[Identification]:
        """The answers with the names of new identities."""
        rows = [list(range(len(self.files)))] if encounter else [[row] for row in range(len(self.files))]
        result = list(answers)
        for number, answer in enumerate(answers):
            if answer.answer == "known" and UNKNOWN.fullmatch(str(answer.identity)):
                self._enrol_rows(rows[number], str(answer.identity))
        new = [number for number, answer in enumerate(answers) if answer.answer == "new"]
        for group in self._group(new, answers, rows):
            name = self._enrol_rows([row for number in group for row in rows[number]], None)
            for number in group:
                result[number] = replace(answers[number], identity=name)
        return result

    def _group(self, new: list[int], answers: list[Identification], rows: list[list[int]]) -> list[list[int]]:
        """Answers of one individual."""
        if len(new) < 2:
            return [new] if new else []
        unit = self.vectors[[rows[number][0] for number in new]]
        probes = find_validation_vectors(self.index, self.validation)
        point = answers[new[0]].point
        among = group_photos(unit, probes, point.requested)[1].threshold
        codes = agglomerate(unit, max(point.threshold, among))
        return [[new[row] for row in np.flatnonzero(codes == code)] for code in range(codes.max() + 1)]

    def _enrol_rows(self, rows: list[int], identity: str | None) -> str | None:
        """The name; None if the gate refuses all photos."""
        files, vectors = [self.files[row] for row in rows], self.vectors[rows]
        remarks = []
        if self.gate != "off":
            remarks = check_enrolment(self.index, files, vectors, identity, self.validation)
            remarks = [each for each in remarks if each.kind != "near_copy"]
        kept = pass_gate(files, remarks, self.gate)
        if not kept:
            return identity
        name = self.registry.enrol(vectors[kept], identity, [files[row] for row in kept])
        log.info("%s: enrolled as %s", ", ".join(files[row] for row in kept), name)
        return name
