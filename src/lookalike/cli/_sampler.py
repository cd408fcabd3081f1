"""From the sampler node of a config to what chooses the batches, datasets by weight included."""

import inspect
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from lookalike.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

    from lookalike.cli.train import Config
    from lookalike.data.mixture import Mixture
    from lookalike.data.samplers import Batches
    from lookalike.data.table import Table

log = logging.getLogger(__name__)
Node = dict[str, Any]
Make = Callable[..., "Batches"]
SIZES = {"classes_per_batch": "classes", "batch_size": "images"}


def build_sampler(config: "Config", train: "Table", tables: dict[str, "Table"]) -> Make:
    """What makes a stage's sampler from class ids [N].

    Args:
        config: the values of the stage.
        train: the training images.
        tables: the datasets they came from, by name.

    Raises:
        ConfigError: the weights are not one a dataset, or the sampler can have no weights or limits.
    """
    from lookalike.config import build

    node, weights = config.sampler, config.dataset_weights
    limits = {"undersample": config.undersample, "oversample": config.oversample}
    _check_limits(node, limits)
    make = build(node, "sampler", **limits)
    if not weights:
        return make
    if len(weights) != len(tables):
        raise ConfigError(
            f"dataset_weights={weights}: {len(weights)} weights for {len(tables)} datasets; give one "
            f"to each of {', '.join(tables)}"
        )
    return make if len(tables) == 1 else _mix_by_weight(node, make, train, tables, weights)


def _check_limits(node: Node, limits: dict[str, int | None]) -> None:
    from hydra.utils import get_object

    parameters = inspect.signature(get_object(node["_target_"])).parameters
    for name, value in limits.items():
        if value is not None and name not in parameters:
            raise ConfigError(
                f"{name}={value}: {_call_name(node)} cannot limit classes; per_class and shuffle can"
            )
    fewest, most = limits["oversample"], limits["undersample"]
    if fewest and most and fewest > most:
        raise ConfigError(f"oversample={fewest} is more than undersample={most}: no class could show both")


def _mix_by_weight(
    node: Node, make: Make, train: "Table", tables: dict[str, "Table"], weights: Sequence[float]
) -> Make:
    from lookalike.data.datasets import origins
    from lookalike.data.mixture import shares

    key = next((name for name in SIZES if name in node), None)
    if key is None:
        raise ConfigError(
            f"dataset_weights: {_call_name(node)} cannot mix datasets; take sampler=per_class or shuffle"
        )
    try:
        parts = shares(weights, node[key])
    except ValueError as error:
        raise ConfigError(f"dataset_weights: {error} (sampler.{key}={node[key]})") from error
    owners = origins(tables, train)
    for number, name in enumerate(tables):
        if not (owners == number).any():
            raise ConfigError(f"dataset_weights: {name} has no training images")
    shares_text = ", ".join(
        f"{part} {SIZES[key]} of {name}" for part, name in zip(parts, tables, strict=True)
    )
    log.info("each batch: %s", shares_text)
    return partial(_mixture, make, key, dict(zip(tables, parts, strict=True)), owners)


def _mixture(
    make: Make, key: str, parts: dict[str, int], owners: "np.ndarray", labels: "np.ndarray"
) -> "Mixture":
    """A sampler for each dataset, and the mixture of them."""
    import numpy as np

    from lookalike.data.mixture import Mixture

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


def _call_name(node: Node) -> str:
    return "sampler " + str(node.get("_target_", "")).rpartition(".")[2]
