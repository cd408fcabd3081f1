"""The operating point of a model: from which similarity on two images are the same, and how sure that is."""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from lookalike.errors import LookalikeError
from lookalike.evaluation.evaluate import evaluate
from lookalike.files import write_text
from lookalike.metrics.records import rate_name

FILE = "operating_point.json"
Answer = Literal["same", "different", "cannot tell"]


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold, what it gives on the identities it was chosen on, and how far it would move on others.

    Attributes:
        far: share of different pairs that may be accepted; the rate that `threshold` was chosen for.
        asked: the rate that was asked for; finer than `far` where the data could not show it.
        threshold: two images are the same from this cosine similarity on.
        threshold_low: lower end of its 95 % interval, by bootstrap over identities.
        threshold_high: upper end.
        tar: share of same pairs accepted.
        tar_low: lower end of its interval.
        tar_high: upper end.
        resolution: the finest rate that the different pairs can show, 1 / their number.
        images: how many it was chosen on.
        identities: of how many identities.
        space: of the model.
    """

    far: float
    asked: float
    threshold: float
    threshold_low: float
    threshold_high: float
    tar: float
    tar_low: float
    tar_high: float
    resolution: float
    images: int
    identities: int
    space: str

    def answer(self, similarity: float) -> Answer:
        """Whether two images show the same; inside the interval of the threshold nobody can tell."""
        if self.threshold_low <= similarity < self.threshold_high:
            return "cannot tell"
        return "same" if similarity >= self.threshold_high else "different"

    def __str__(self) -> str:
        requested = f" (asked was {self.asked:g}, finer than these images show)"
        finer = requested if self.asked < self.far else ""
        return (
            f"threshold {self.threshold:.3f} [{self.threshold_low:.3f}, {self.threshold_high:.3f}] for a "
            f"false accept rate of {self.far:.3g}{finer}: accepts {100 * self.tar:.1f} % of same pairs "
            f"[{100 * self.tar_low:.1f}, {100 * self.tar_high:.1f}], on {self.images} images of "
            f"{self.identities} validation identities"
        )


def choose_operating_point(
    vectors: Any, labels: Any, far: float, space: str, seed: int = 0
) -> OperatingPoint:
    """The threshold for a false accept rate, on identities that the model was not trained on.

    Where the different pairs cannot show the rate, the finest one that they can is taken.

    Args:
        vectors: embeddings, [N, D].
        labels: identities, [N].
        far: wanted share of different pairs accepted.
        space: of the model.
        seed: of the bootstrap.

    Raises:
        ValueError: fewer than three identities, or none with two images.
    """
    negatives, identities = _negative_pairs(labels)
    if not negatives:
        raise ValueError(
            f"there are no pairs of different identities: {len(labels)} images of {identities} identity"
        )
    if identities < 3:
        raise ValueError(_too_few(identities))
    reachable = max(far, 1 / negatives)
    metrics = evaluate(vectors, labels, metrics={}, far=reachable, coarse_far=True, seed=seed).metrics
    threshold, tar = (
        metrics[f"threshold@far={rate_name(reachable)}"],
        metrics[f"tar@far={rate_name(reachable)}"],
    )
    if "low" not in threshold:
        raise ValueError(_too_few(identities))
    return OperatingPoint(
        far=reachable,
        asked=far,
        threshold=threshold["value"],
        threshold_low=threshold["low"],
        threshold_high=threshold["high"],
        tar=tar["value"],
        tar_low=tar["low"],
        tar_high=tar["high"],
        resolution=1 / negatives,
        images=len(labels),
        identities=identities,
        space=space,
    )


def _too_few(identities: int) -> str:
    return f"{identities} identities are too few to say how sure a threshold is; at least 3 are needed"


def write_point(point: OperatingPoint, folder: Path) -> None:
    """Write operating_point.json into a model folder."""
    write_text(folder / FILE, json.dumps(asdict(point), indent=2) + "\n")


def read_point(folder: str | Path, space: str | None = None) -> OperatingPoint | None:
    """The operating point of a model folder, or of OUT with OUT/model in it; None if it has none.

    Args:
        folder: of the model.
        space: of the model; a point that was chosen for other weights is refused.

    Raises:
        LookalikeError: the file is damaged, or is of another model.
    """
    folder = Path(folder)
    file = next((path for path in (folder / FILE, folder / "model" / FILE) if path.is_file()), None)
    if file is None:
        return None
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        point = OperatingPoint(
            **{field.name: _convert_type(values[field.name], field.type) for field in fields(OperatingPoint)}
        )
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise LookalikeError(f"{file}: cannot be read as an operating point: {error!r}") from error
    if space is not None and point.space != space:
        raise LookalikeError(f"{file}: was chosen for the model {point.space}, and this one is {space}")
    return point


def _convert_type(value: Any, kind: Any) -> Any:
    if kind is str:
        return str(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r} is not a number")
    return kind(value)


def _negative_pairs(labels: Any) -> tuple[int, int]:
    """How many pairs of different identities there are, and how many identities."""
    import numpy as np

    from lookalike.metrics.inputs import factorise

    names, codes = factorise(labels)
    counts = np.bincount(codes) if len(codes) else np.zeros(0, np.int64)
    return int((counts.sum() ** 2 - (counts**2).sum()) // 2), len(names)
