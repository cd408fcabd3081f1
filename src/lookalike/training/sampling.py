"""From the sampler of a stage to what chooses its batches, datasets mixed by weight included."""

import inspect
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from lookalike.data.datasets import origins
from lookalike.data.mixture import Mixture, shares
from lookalike.data.table import Table
from lookalike.errors import ConfigError
from lookalike.training.settings import SamplerChoice, StageSettings

log = logging.getLogger(__name__)
Make = Callable[..., Any]
SIZES = {"classes_per_batch": "classes", "batch_size": "images"}


def build_sampler(stage: StageSettings, train: Table, tables: Mapping[str, Table]) -> Make:
    """What makes a stage's sampler from class ids [N].

    Args:
        stage: its settings.
        train: the training images.
        tables: the datasets they came from, by name.

    Raises:
        ConfigError: the weights are not one a dataset, or the sampler can have no weights or limits.
    """
    sampler, weights = stage.sampler, stage.dataset_weights
    limits = {"undersample": stage.undersample, "oversample": stage.oversample}
    make = partial(sampler.make, **_applicable_limits(sampler, limits))
    if not weights:
        return make
    if len(weights) != len(tables):
        raise ConfigError(
            f"dataset_weights={[*weights]}: {len(weights)} weights for {len(tables)} datasets; give one "
            f"to each of {', '.join(tables)}"
        )
    return make if len(tables) == 1 else _mix_by_weight(sampler, make, train, tables, weights)


def _applicable_limits(sampler: SamplerChoice, limits: dict[str, int | None]) -> dict[str, int | None]:
    """Those limits that the sampler takes.

    Raises:
        ConfigError: it does not take one that is set, or no class could keep both.
    """
    parameters = inspect.signature(sampler.target).parameters
    for name, value in limits.items():
        if value is not None and name not in parameters:
            raise ConfigError(
                f"{name}={value}: sampler {sampler.name} cannot limit classes; per_class and shuffle can"
            )
    fewest, most = limits["oversample"], limits["undersample"]
    if fewest and most and fewest > most:
        raise ConfigError(f"oversample={fewest} is more than undersample={most}: no class could show both")
    return {name: value for name, value in limits.items() if name in parameters}


def _mix_by_weight(
    sampler: SamplerChoice, make: Make, train: Table, tables: Mapping[str, Table], weights: Sequence[float]
) -> Make:
    key = next((name for name in SIZES if name in sampler.arguments), None)
    if key is None:
        raise ConfigError(
            f"dataset_weights: sampler {sampler.name} cannot mix datasets; take sampler=per_class or shuffle"
        )
    try:
        parts = shares(weights, sampler.arguments[key])
    except ValueError as error:
        raise ConfigError(f"dataset_weights: {error} (sampler.{key}={sampler.arguments[key]})") from error
    owners = origins(tables, train)
    for number, name in enumerate(tables):
        if not (owners == number).any():
            raise ConfigError(f"dataset_weights: {name} has no training images")
    shares_text = ", ".join(
        f"{part} {SIZES[key]} of {name}" for part, name in zip(parts, tables, strict=True)
    )
    log.info("each batch: %s", shares_text)
    return partial(_mixture, make, key, dict(zip(tables, parts, strict=True)), owners)


def _mixture(make: Make, key: str, parts: dict[str, int], owners: np.ndarray, labels: np.ndarray) -> Mixture:
    """A sampler for each dataset, and the mixture of them."""
    samplers = []
    for number, (name, share) in enumerate(parts.items()):
        rows = np.flatnonzero(owners == number)
        sampler = make(labels[rows], **{key: share})
        actual_share = getattr(sampler, key, share)
        if actual_share < share:
            raise ConfigError(
                f"dataset_weights: {share} different classes of each batch would be of {name}, which has "
                f"{actual_share} to show; lower its weight or sampler.{key}"
            )
        samplers.append((rows, sampler))
    return Mixture(samplers, list(parts.values()))


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
