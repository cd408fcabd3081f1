"""The operating point of a model: from which similarity on two images are the same, and how sure that is."""

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lookalike.errors import LookalikeError
from lookalike.files import parse_json, write_text
from lookalike.model.onnx_model import OnnxModel
from lookalike.model.truncation import split_space

if TYPE_CHECKING:
    from lookalike.embeddings import Embeddings

log = logging.getLogger(__name__)
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


def write_point(point: OperatingPoint, folder: Path) -> None:
    """Write operating_point.json into a model folder."""
    write_text(folder / FILE, json.dumps(asdict(point), indent=2) + "\n")


def read_point(folder: str | Path, space: str | None = None) -> OperatingPoint | None:
    """The operating point of a model folder, of OUT with OUT/model in it, or of an exported file.

    None if there is none.

    Args:
        folder: of the model, or the file.
        space: of the model; a point that was chosen for other weights is refused.

    Raises:
        LookalikeError: the file is damaged, or is of another model.
    """
    folder = Path(folder)
    if folder.suffix == ".onnx":
        return file_point(OnnxModel(folder))
    file = next((path for path in (folder / FILE, folder / "model" / FILE) if path.is_file()), None)
    if file is None:
        return None
    try:
        point = as_point(parse_json(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise LookalikeError(f"{file}: cannot be read as an operating point: {error!r}") from error
    if space is not None and point.space != space:
        if _is_truncated(space, point.space, str(file)):
            return None
        raise LookalikeError(f"{file}: was chosen for the model {point.space}, and this one is {space}")
    return point


def own_threshold(embeddings: "Embeddings") -> float | None:
    """The threshold of the operating point of the model that embeddings come from; None without one.

    Raises:
        LookalikeError: the operating point is damaged.
    """
    point = None if embeddings.model is None else read_point(embeddings.model)
    if point is None:
        return None
    if _is_truncated(embeddings.space, point.space, str(embeddings.model)):
        return None
    if point.space != embeddings.space:
        log.warning("%s has other weights by now; its threshold is not evaluated here", embeddings.model)
        return None
    return point.threshold


def file_point(model: OnnxModel) -> OperatingPoint | None:
    """The operating point that an exported file contains; None if it has none.

    Raises:
        LookalikeError: it is damaged, or of another model.
    """
    if model.operating_point is None:
        return None
    try:
        point = as_point(model.operating_point)
    except (KeyError, TypeError, ValueError) as error:
        raise LookalikeError(f"{model.file}: its operating point is damaged: {error!r}") from error
    if _is_truncated(model.space, point.space, str(model.file)):
        return None
    if point.space != model.space:
        raise LookalikeError(f"{model.file}: its operating point is that of the model {point.space}")
    return point


def _is_truncated(space: str, whole: str, owner: str) -> bool:
    """Whether vectors of `space` are truncated ones of the space that a threshold was chosen in."""
    kept = split_space(space)[1]
    if kept is None or space == whole or split_space(space)[0] != split_space(whole)[0]:
        return False
    log.info("%s: its threshold holds for other than the first %d dimensions, so it is not used", owner, kept)
    return True


def as_point(values: Mapping[str, Any]) -> OperatingPoint:
    """The operating point of the values of its file.

    Raises:
        KeyError, TypeError, ValueError: one is missing, or of another type.
    """
    return OperatingPoint(
        **{field.name: _convert_type(values[field.name], field.type) for field in fields(OperatingPoint)}
    )


def _convert_type(value: Any, kind: Any) -> Any:
    if kind is str:
        return str(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r} is not a number")
    return kind(value)
