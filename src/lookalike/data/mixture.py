"""Batches from several datasets, each with a fixed share of every batch."""

from collections.abc import Sequence

import numpy as np

from lookalike.data.samplers import Batches


class Mixture(Batches):
    """Batches with a fixed share of each of several datasets.

    Each dataset has its own sampler, which passes through its images repeatedly; a pass may end in the middle
    of an epoch. An epoch of the mixture has about as many batches as one pass through all datasets, so a
    dataset whose share exceeds its size repeats images, and one with a smaller share continues in the next
    epochs.

    Args:
        parts: rows of each dataset [N_d], and its sampler, which returns indices 0 … N_d - 1.
        shares: share of each dataset in a batch, in the unit of the samplers: images or classes.
    """

    def __init__(self, parts: Sequence[tuple[np.ndarray, Batches]], shares: Sequence[int]):
        super().__init__(parts[0][1].seed)
        self.parts = list(parts)
        images = sum(len(sampler) * share for (_, sampler), share in zip(parts, shares, strict=True))
        self._count = max(1, round(images / sum(shares)))

    def batches(self, epoch: int) -> list[np.ndarray]:
        """See `Batches.batches`."""
        columns = [self._column(rows, sampler, epoch) for rows, sampler in self.parts]
        return [np.concatenate(pieces) for pieces in zip(*columns, strict=True)]

    def _column(self, rows: np.ndarray, sampler: Batches, epoch: int) -> list[np.ndarray]:
        """The part of one dataset in every batch of an epoch."""
        first, column = epoch * len(self), []
        while len(column) < len(self):
            number, position = divmod(first + len(column), len(sampler))
            column += [rows[batch] for batch in sampler.batches(number)[position:]]
        return column[: len(self)]


def shares(weights: Sequence[float], size: int) -> list[int]:
    """Divide `size` by weight into integers that add up to it, each at least 1.

    Raises:
        ValueError: a weight is not above 0, or there are more weights than `size`.
    """
    weights_array = np.asarray(weights, float)
    if not np.isfinite(weights_array).all() or (weights_array <= 0).any():
        raise ValueError(f"{list(weights)}: weights must be above 0; to exclude a dataset, leave it out")
    if size < len(weights_array):
        raise ValueError(f"{len(weights_array)} datasets do not fit into a batch of {size}")
    exact = weights_array / weights_array.sum() * size
    counts = np.maximum(1, np.floor(exact).astype(int))
    while counts.sum() != size:
        step = 1 if counts.sum() < size else -1
        gain = np.where((counts > 1) | (step > 0), step * (exact - counts), -np.inf)
        counts[np.argmax(gain)] += step
    return counts.tolist()
