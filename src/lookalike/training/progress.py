"""Where training stands."""

from dataclasses import dataclass
from typing import Any, Self


@dataclass
class TrainingProgress:
    """Where training stands, before its first batch unless said otherwise.

    Attributes:
        stage: the stage, from 0.
        epoch: the epoch of the whole run, from 1.
        within: the epoch of the stage, from 1.
        batch: batches of this epoch that are done.
        step, steps: batches of the stage, and of the run, that are done.
    """

    stage: int = 0
    epoch: int = 1
    within: int = 1
    batch: int = 0
    step: int = 0
    steps: int = 0

    @classmethod
    def from_state(cls, state: dict[str, Any] | None) -> Self:
        """Where a checkpoint was written; the beginning without one."""
        return cls(*state["position"]) if state else cls()

    def count_batch(self) -> None:
        """One more batch."""
        self.batch, self.step, self.steps = self.batch + 1, self.step + 1, self.steps + 1

    def next_epoch(self) -> None:
        """To the start of the next epoch of the stage."""
        self.epoch, self.within, self.batch = self.epoch + 1, self.within + 1, 0

    def next_stage(self) -> None:
        """To the start of the next stage."""
        self.stage, self.within, self.step = self.stage + 1, 1, 0
