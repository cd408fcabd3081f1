"""A sampler of the user's own as the batches that training goes through."""

from collections.abc import Iterator, Mapping
from typing import Any

from lookalike.errors import ConfigError


class OwnBatches:
    """Any sized iterable of lists of row numbers, such as a torch BatchSampler.

    `set_epoch` is passed on if the sampler has it. To resume within an epoch, the batches that are done are
    drawn again and skipped, so the sampler must draw the same ones: from its own seed and epoch, or from
    torch's random numbers.

    Args:
        sampler: the iterable; each iteration is an epoch.
        rows: number of training images; row numbers are below it.

    Raises:
        ConfigError: it is not such an iterable.
    """

    def __init__(self, sampler: Any, rows: int):
        self.sampler, self.rows, self.name = sampler, rows, type(sampler).__name__
        self._skip = 0
        if not hasattr(sampler, "__iter__") or not hasattr(sampler, "__len__"):
            raise ConfigError(
                f"sampler {self.name}: needs __iter__, which gives lists of row numbers, and __len__, the "
                "number of batches"
            )
        if hasattr(sampler, "__next__"):
            raise ConfigError(f"sampler {self.name}: can be gone through once only; pass a list or a class")

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[list[int]]:
        skip, self._skip = self._skip, 0
        for number, batch in enumerate(self.sampler):
            if number >= skip:
                yield self._check_rows(batch)

    def set_epoch(self, epoch: int) -> None:
        """Choose the batches of this epoch."""
        if hasattr(self.sampler, "set_epoch"):
            self.sampler.set_epoch(epoch)

    def state_dict(self, done: int | None = None) -> dict[str, int]:
        """Where the epoch stands after `done` batches."""
        return {"position": done or 0}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Let the next iteration go on from there."""
        self._skip = state["position"]

    def _check_rows(self, batch: Any) -> list[int]:
        try:
            rows = [int(row) for row in batch]
        except (TypeError, ValueError) as error:
            raise ConfigError(f"sampler {self.name}: gives {batch!r}, not a list of row numbers") from error
        wrong = [row for row in rows if not 0 <= row < self.rows]
        if wrong or not rows:
            raise ConfigError(
                f"sampler {self.name}: gives {f'row {wrong[0]}' if wrong else 'an empty batch'}; rows are "
                f"those of the {self.rows} training images, 0 to {self.rows - 1}, without validation "
                "images. A class or function instead of an object is called with their class ids [N]"
            )
        return rows
