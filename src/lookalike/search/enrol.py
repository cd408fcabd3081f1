"""Enrolling photos: they are embedded, compared with the other identities, and stored."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lookalike.errors import DataError, Problem
from lookalike.search.index import Index
from lookalike.search.query import embed_photos
from lookalike.search.registry import Registry

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Enrolment:
    """What was enrolled: the name, how many photos, and those that cannot be read."""

    identity: str
    photos: int
    skipped: list[Problem]


def enrol_photos(
    folder: str | Path,
    photos: Sequence[Path],
    identity: str | None = None,
    *,
    model: str | Path | None = None,
    device: "str | torch.device | None" = None,
    batch_size: int = 64,
) -> Enrolment:
    """Enrol photos of one identity in an index with `engine=sqlite`.

    A warning is logged for each photo that the threshold of the model takes for another identity.

    Args:
        folder: the index.
        photos: files.
        identity: its name; "new-1", "new-2", … if None.
        model: a model folder, in place of the one that the index names.
        device: device to compute on.
        batch_size: photos per forward pass.

    Raises:
        DataError: no photo can be read.
        LookalikeError: the index does not change, or its model is missing or another one.
    """
    with Registry(folder) as registry:
        index = Index.load(folder, model, device)
        boxes = [None] * len(photos)
        vectors, positions, problems = embed_photos(index.loaded_model, photos, boxes, batch_size)
        if not positions:
            raise DataError("no image to enrol can be read", problems)
        files = [str(photos[position]) for position in positions]
        for file, hits in zip(
            files, index.search(vectors, 2, by="label") if len(index) else [], strict=False
        ):
            others = [hit for hit in hits if hit.label != identity and hit.likely]
            if others:
                log.warning(
                    "%s: resembles %s (similarity %.3f); if they are the same, enrol it with that identity",
                    *(file, others[0].label, others[0].similarity),
                )
        return Enrolment(registry.enrol(vectors, identity, files), len(files), problems)
