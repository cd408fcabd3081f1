"""Random numbers per image, independent of process and order."""

from collections.abc import Sequence

import numpy as np

STEP, FIRST, SECOND = (
    np.uint64(value) for value in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)


def random_uniform(
    seed: int, epoch: int, rows: Sequence[int], repeats: Sequence[int], count: int
) -> np.ndarray:
    """Numbers in [0, 1), float64 [N, count]: one row per image.

    Each is the SplitMix64 hash (Steele et al. 2014) of seed, epoch, row, repeat and its index.

    Args:
        seed: of the run.
        epoch: of the run, counted from 1.
        rows: of the images, [N].
        repeats: number of earlier occurrences of the row in the batch, [N].
        count: numbers per image.
    """
    key = np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)
    row, repeat = (np.asarray(values).astype(np.uint64) for values in (rows, repeats))
    state = _mix_bits(_mix_bits(key ^ _mix_bits(row * STEP + STEP)) + _mix_bits(repeat * STEP))
    offsets = np.arange(1, count + 1, dtype=np.uint64) * STEP
    return (_mix_bits(state[:, None] + offsets) >> np.uint64(11)) * 2.0**-53


def _mix_bits(values: np.ndarray) -> np.ndarray:
    values = (values ^ (values >> np.uint64(30))) * FIRST
    values = (values ^ (values >> np.uint64(27))) * SECOND
    return values ^ (values >> np.uint64(31))


def generator(draw: float) -> np.random.Generator:
    """A random generator seeded by one number in [0, 1)."""
    return np.random.Generator(np.random.SFC64(int(draw * 2**53)))
