"""A schedule that waits for the score to stop improving."""

import logging
import math
from typing import Annotated, Any

from annotated_types import Ge, Gt, Lt

from lookalike.training.schedules import Duration, Share, Unit, clock, rise

log = logging.getLogger(__name__)


class Plateau:
    """Linear warm-up, and a cut each time the validation score has not improved for a while.

    `observe` is called with the score at the end of each epoch; without validation there is nothing to
    observe, and training refuses to start.

    Args:
        factor: what a cut multiplies by.
        patience: epochs without a better score that are waited for; the next one brings the cut.
        threshold: by how much a score must be better than the best one to count.
        floor: the factor never falls below this.
        warmup: how long the factor rises from 0.
        unit: of the warm-up, share of training or epochs.
        epochs: how long training is.

    Attributes:
        now: the factor without the warm-up.
        best: the best score so far.
        waited: epochs since then, or since the last cut.
    """

    def __init__(
        self,
        factor: Annotated[float, Gt(0), Lt(1)] = 0.1,
        patience: Annotated[int, Ge(0)] = 2,
        threshold: Annotated[float, Ge(0)] = 0.001,
        floor: Share = 0.0,
        warmup: Duration = 0.0,
        unit: Unit = "share",
        epochs: int = 1,
    ) -> None:
        self.factor, self.patience, self.threshold, self.floor = factor, patience, threshold, floor
        self.warmup, self.unit, self.epochs = warmup, unit, epochs
        self.now, self.best, self.waited = 1.0, -math.inf, 0
        self(0.0)

    def __call__(self, progress: float) -> float:
        """The factor at this share of training."""
        done, _ = clock(progress, self.unit, self.epochs, warmup=self.warmup)
        return self.now * rise(done, self.warmup)

    def observe(self, score: float) -> None:
        """Record the score of an epoch, higher is better; NaN is no improvement."""
        if score > self.best + self.threshold:
            self.best, self.waited = score, 0
            return
        self.waited += 1
        if self.waited > self.patience and self.now > self.floor:
            self.now, self.waited = max(self.floor, self.now * self.factor), 0
            log.info("learning rates cut to %g of their full values: the score no longer improves", self.now)

    def state_dict(self) -> dict[str, Any]:
        """Plain values; the best score is None before the first."""
        best = None if self.best == -math.inf else self.best
        return {"now": self.now, "best": best, "waited": self.waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from such a state."""
        self.now, self.waited = state["now"], state["waited"]
        self.best = -math.inf if state["best"] is None else state["best"]
