"""Learning-rate schedules: a factor on every rate from the share of training that is done.

Every schedule starts with a linear warm-up and moves with each step. All durations of a schedule are in one
unit: shares of the whole training, which fit any number of epochs, or epochs (`unit="epochs"`).
"""

import math
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, MinLen

Share = Annotated[float, Ge(0), Le(1)]
Duration = Annotated[float, Ge(0)]
Period = Annotated[float, Gt(0)]
Factor = Annotated[float, Gt(0)]
Unit = Literal["share", "epochs"]
Mode = Literal["triangular", "triangular2", "exp_range"]
Shape = Literal["cosine", "linear"]

ROUNDING = 1e-9
"""How much too early, in units, a milestone may be met: steps divided by steps are not exact."""


def constant(progress: float, warmup: Duration = 0.0, unit: Unit = "share", epochs: int = 1) -> float:
    """Linear warm-up, then 1.

    Args:
        progress: share of all steps that is done, in [0, 1].
        warmup: how long the factor rises from 0 to 1.
        unit: of durations, shares of training or epochs.
        epochs: how long training is.
    """
    done, _ = clock(progress, unit, epochs, warmup=warmup)
    return rise(done, warmup)


def cosine(
    progress: float, warmup: Duration = 0.05, floor: Share = 0.0, unit: Unit = "share", epochs: int = 1
) -> float:
    """Linear warm-up, then half a cosine down to `floor` (Loshchilov & Hutter 2017, arXiv:1608.03983).

    Args:
        progress: share of all steps that is done, in [0, 1].
        warmup: how long the factor rises from 0 to 1.
        floor: the factor at the end.
        unit: of durations, shares of training or epochs.
        epochs: how long training is.
    """
    done, total = clock(progress, unit, epochs, warmup=warmup)
    if done < warmup:
        return rise(done, warmup)
    return interpolate(1.0, floor, (done - warmup) / max(total - warmup, 1e-12), "cosine")


def step(
    progress: float,
    every: Period = 0.75,
    factor: Factor = 0.1,
    warmup: Duration = 0.0,
    unit: Unit = "share",
    epochs: int = 1,
) -> float:
    """Linear warm-up, and multiplied by `factor` each time another `every` is done.

    Args:
        progress: share of all steps that is done, in [0, 1].
        every: time between two cuts, counted from the start of training.
        factor: what a cut multiplies by.
        warmup: how long the factor rises from 0.
        unit: of durations, shares of training or epochs.
        epochs: how long training is.
    """
    done, _ = clock(progress, unit, epochs, warmup=warmup, every=every)
    return rise(done, warmup) * factor ** math.floor(done / every + ROUNDING)


def multi_step(
    progress: float,
    milestones: Annotated[tuple[Period, ...], MinLen(1)] = (0.5, 0.75),
    factor: Factor = 0.1,
    warmup: Duration = 0.0,
    unit: Unit = "share",
    epochs: int = 1,
) -> float:
    """Linear warm-up, and multiplied by `factor` at each of the milestones.

    Args:
        progress: share of all steps that is done, in [0, 1].
        milestones: when the cuts are, in any order; one named twice cuts twice.
        factor: what a cut multiplies by.
        warmup: how long the factor rises from 0.
        unit: of durations, shares of training or epochs.
        epochs: how long training is.
    """
    done, _ = clock(progress, unit, epochs, warmup=warmup, milestones=max(milestones))
    return rise(done, warmup) * factor ** sum(done >= milestone - ROUNDING for milestone in milestones)


def exponential(
    progress: float,
    factor: Factor = 0.01,
    every: Period = 1.0,
    warmup: Duration = 0.0,
    unit: Unit = "share",
    epochs: int = 1,
) -> float:
    """Linear warm-up, and multiplied by `factor` in each `every`, a little with each step.

    Args:
        progress: share of all steps that is done, in [0, 1].
        factor: what is left after each `every`.
        every: time in which that happens.
        warmup: how long the factor rises from 0.
        unit: of durations, shares of training or epochs.
        epochs: how long training is.
    """
    done, _ = clock(progress, unit, epochs, warmup=warmup, every=every)
    return rise(done, warmup) * factor ** (done / every)


def cyclic(
    progress: float,
    low: Share = 0.1,
    up: Period = 0.1,
    down: Period | None = None,
    mode: Mode = "triangular",
    decay: Annotated[float, Gt(0), Le(1)] = 0.1,
    warmup: Duration = 0.0,
    unit: Unit = "share",
    epochs: int = 1,
) -> float:
    """Up and down in straight lines between `low` and 1 (Smith 2017, arXiv:1506.01186), and a warm-up.

    Args:
        progress: share of all steps that is done, in [0, 1].
        low: the factor at the foot of a triangle.
        up: time from the foot to the top.
        down: time from the top to the foot; as long as `up` if not given.
        mode: triangular; triangular2, each half as high as the last; exp_range, lower with each step.
        decay: for exp_range, what is left of the height after the whole of training, or after each epoch.
        warmup: how long everything is multiplied by a factor that rises from 0 to 1.
        unit: of durations, shares of training or epochs.
        epochs: how long training is.
    """
    down = up if down is None else down
    done, _ = clock(progress, unit, epochs, warmup=warmup, up=up, down=down)
    cycle = math.floor(done / (up + down) + ROUNDING)
    inside = max(0.0, done - cycle * (up + down))
    height = inside / up if inside <= up else max(0.0, (up + down - inside) / down)
    shrunk = {"triangular": 1.0, "triangular2": 0.5**cycle, "exp_range": decay**done}[mode]
    return rise(done, warmup) * (low + (1 - low) * height * shrunk)


def one_cycle(
    progress: float,
    warmup: Duration = 0.3,
    start: Share = 0.04,
    floor: Share = 0.000004,
    shape: Shape = "cosine",
    unit: Unit = "share",
    epochs: int = 1,
) -> float:
    """From `start` up to 1 in the warm-up, then down to `floor` (Smith & Topin 2017, arXiv:1708.07120).

    Args:
        progress: share of all steps that is done, in [0, 1].
        warmup: how long the way up takes.
        start: the factor at the start.
        floor: the factor at the end.
        shape: of both ways, half a cosine or straight.
        unit: of durations, shares of training or epochs.
        epochs: how long training is.
    """
    done, total = clock(progress, unit, epochs, warmup=warmup)
    if done < warmup:
        return interpolate(start, 1.0, done / warmup, shape)
    return interpolate(1.0, floor, (done - warmup) / max(total - warmup, 1e-12), shape)


def clock(progress: float, unit: Unit, epochs: int, **durations: float) -> tuple[float, float]:
    """How much of training is done and how long it is, in `unit`.

    Raises:
        ValueError: a duration in shares is more than 1; it is named.
    """
    total = max(epochs, 1) if unit == "epochs" else 1
    for name, duration in durations.items():
        if unit == "share" and duration > 1:
            raise ValueError(
                f"{name} {duration:g}: a share of training is at most 1; with unit=epochs it counts epochs"
            )
    return progress * total, total


def rise(done: float, warmup: float) -> float:
    """The factor of a linear warm-up."""
    return done / warmup if done < warmup else 1.0


def interpolate(first: float, last: float, share: float, shape: Shape) -> float:
    """The number `share` of the way from `first` to `last`, along half a cosine or straight."""
    share = min(1.0, share)
    if shape == "cosine":
        share = 0.5 * (1 - math.cos(math.pi * share))
    return first + (last - first) * share
