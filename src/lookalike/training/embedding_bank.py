"""Embeddings of the training images by the current model, for samplers of hard negatives."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from lookalike.data.table import Table
from lookalike.embeddings import embed
from lookalike.errors import DataError, LookalikeError, Problem
from lookalike.machine import choose_workers
from lookalike.model.embedder import EmbeddingModel
from lookalike.training.components import Batches, RunComponents
from lookalike.training.hard_negatives import HardNegatives

log = logging.getLogger(__name__)
PIECE = 16_384
"""Images whose vectors are held beside the bank."""

Piece = tuple[np.ndarray, np.ndarray, np.ndarray]
Skip = Callable[[Iterable[Problem]], None]


def refresh_bank(
    batches: Batches, epoch: int, losses: Mapping[str, float], parts: RunComponents, skip: Skip
) -> None:
    """Update the embeddings of a sampler of hard negatives; other samplers need none.

    Args:
        batches: the sampler.
        epoch: the one that ended; 0 before the first.
        losses: those of the epoch; none before the first.
        parts: the run.
        skip: called with the images that cannot be read.
    """
    if not isinstance(batches, HardNegatives):
        return
    workers = choose_workers(parts.settings.workers, parts.accelerator.device)
    if batches.end_epoch(epoch, losses, Embedder(parts.model, parts.train, parts.accelerator, workers, skip)):
        log.info("negatives are hard from epoch %d on", epoch + 1)


def gather_bank(batches: Batches) -> dict[str, Any] | None:
    """What a sampler of hard negatives must keep; None of others."""
    return batches.bank_state() if isinstance(batches, HardNegatives) else None


def load_bank(bank: dict[str, Any] | None, batches: Batches) -> None:
    """Let a sampler of hard negatives go on with such a state, of a checkpoint or of the stage before."""
    if bank is not None and isinstance(batches, HardNegatives):
        batches.load_bank_state(bank)


class Embedder:
    """Embeds rows of a table in evaluation mode, with the model's evaluation preprocessing.

    The processes share the work, and all of them get the same vectors.

    Args:
        model: as it is when called.
        table: the training images.
        accelerator: of the run.
        workers: processes that read images.
        skip: called with the images that cannot be read.
    """

    def __init__(
        self,
        model: EmbeddingModel,
        table: Table,
        accelerator: Accelerator,
        workers: int,
        skip: Skip,
    ):
        self.model, self.table, self.accelerator = model, table, accelerator
        self.workers, self.skip = workers, skip

    def __call__(self, rows: np.ndarray) -> Iterator[Piece]:
        """Rows [M] in pieces: the rows [m], whether each could be read [m], and the vectors of those [r, D].

        Raises:
            LookalikeError: the vectors are not finite.
        """
        log.info("embedding %d training images for hard negatives", len(rows))
        for start in range(0, len(rows), PIECE):
            yield self._embed_piece(rows[start : start + PIECE])

    def _embed_piece(self, rows: np.ndarray) -> Piece:
        shared, rank = self.accelerator.num_processes, self.accelerator.process_index
        mine = np.arange(rank, len(rows), shared)
        read, vectors = self._embed_own_rows(rows[mine])
        if not np.isfinite(vectors).all():
            raise LookalikeError(
                "the model no longer gives numbers: training has gone astray. Lower the learning rates (lr, "
                "backbone_lr, loss_lr) or clip"
            )
        if shared == 1:
            return rows, read, vectors
        both = torch.zeros(len(rows), 1 + vectors.shape[1], device=self.accelerator.device)
        both[mine[read], 1:] = torch.from_numpy(vectors).to(both)
        both[mine[read], 0] = 1
        both = self.accelerator.reduce(both, "sum").cpu().numpy()
        read = both[:, 0] > 0
        return rows, read, both[read, 1:]

    def _embed_own_rows(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Whether each row could be read, and the vectors of those that could."""
        read = np.ones(len(rows), bool)
        vectors = np.empty((0, self.model.dim), np.float32)
        try:
            embeddings = embed(self.model, self.table.take(rows), workers=self.workers, progress=False)
            vectors, problems = embeddings.vectors, embeddings.skipped
        except DataError as error:
            problems = error.problems
        for problem in problems:
            if problem.row is not None:
                read[problem.row] = False
                self.skip([Problem(problem.path, problem.reason, int(rows[problem.row]))])
        return read, vectors
