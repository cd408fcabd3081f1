"""Learning-rate schedules: a factor between 0 and 1 from the share of training that is done."""

import math
from typing import Annotated

from annotated_types import Ge, Gt, Le

Share = Annotated[float, Ge(0), Le(1)]


def cosine(progress: float, warmup: Share = 0.05, floor: Share = 0.0) -> float:
    """Linear warm-up, then half a cosine down to `floor` (Loshchilov & Hutter 2017, arXiv 1608.03983).

    Args:
        progress: share of all steps that is done, in [0, 1].
        warmup: share of all steps during which the factor rises from 0 to 1.
        floor: the factor at the end.
    """
    if progress < warmup:
        return progress / warmup
    done = (progress - warmup) / max(1e-12, 1 - warmup)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def constant(progress: float, warmup: Share = 0.0) -> float:
    """Linear warm-up, then 1."""
    return progress / warmup if progress < warmup else 1.0


def step(
    progress: float,
    every: Annotated[float, Gt(0)] = 0.75,
    factor: Annotated[float, Gt(0)] = 0.1,
    warmup: Share = 0.0,
) -> float:
    """Linear warm-up, then multiplied by `factor` each time another share `every` of training is done."""
    if progress < warmup:
        return progress / warmup
    return factor ** math.floor(progress / every + 1e-9)
