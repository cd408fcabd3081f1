"""Whether two photos show the same: same, different, or cannot tell."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lookalike.errors import LookalikeError
from lookalike.evaluation.operating_point import Answer, OperatingPoint, file_point, read_point
from lookalike.metrics.inputs import cosine_of
from lookalike.model.loading import load
from lookalike.model.onnx_model import OnnxModel

if TYPE_CHECKING:
    from lookalike.data.image_input import ImageLike
    from lookalike.model.embedder import EmbeddingModel


@dataclass(frozen=True)
class Verification:
    """The answer, and what it is based on.

    Attributes:
        answer: same, different, or cannot tell.
        similarity: cosine similarity of the two photos.
        threshold: similarity from which on two photos show the same.
        threshold_low: lower end of the interval in which the answer is "cannot tell"; None without one.
        threshold_high: upper end.
        far: false accept rate that the threshold was chosen for; None if it was given.
    """

    answer: Answer
    similarity: float
    threshold: float
    threshold_low: float | None = None
    threshold_high: float | None = None
    far: float | None = None

    def __str__(self) -> str:
        """One line: answer, similarity, threshold, its interval, false accept rate."""
        text = f"{self.answer}: similarity {self.similarity:.3f}; threshold {self.threshold:.3f}"
        if self.threshold_low is None:
            return text
        interval = f"{self.threshold_low:.3f} to {self.threshold_high:.3f}"
        return f"{text}, cannot tell from {interval}, false accept rate {self.far:.3g}"


def verify(
    model: "EmbeddingModel | OnnxModel | str | Path",
    first: "ImageLike",
    second: "ImageLike",
    *,
    threshold: float | None = None,
) -> Verification:
    """Compare two photos by a model and its operating point.

    Args:
        model: a model, its folder, or an exported file. The operating point is that of the folder or file it
            was loaded from.
        first: path, PIL image, or uint8 array [H, W, 3] (RGB) or [H, W] (grey).
        second: the other one.
        threshold: cosine similarity from which on they show the same; that of the model if not given.

    Raises:
        LookalikeError: the model has no operating point, or that of other weights; says how to get one.
        ValueError: `threshold` is not from -1 to 1.
        ImageError: a file cannot be read.
    """
    if threshold is not None and not -1 <= threshold <= 1:
        raise ValueError(f"threshold={threshold:g}: must be from -1 to 1")
    if isinstance(model, str | Path):
        model = load(model)
    point = find_point(model) if threshold is None else None
    vectors = model.embed([first, second])
    return judge_similarity(cosine_of(vectors[0], vectors[1]), threshold, point)


def judge_similarity(
    similarity: float, threshold: float | None, point: OperatingPoint | None
) -> Verification:
    """The answer by a given threshold, or else by an operating point."""
    if threshold is not None or point is None:
        limit = 0.0 if threshold is None else float(threshold)
        return Verification("same" if similarity >= limit else "different", similarity, limit)
    return Verification(
        point.answer(similarity),
        similarity,
        point.threshold,
        point.threshold_low,
        point.threshold_high,
        point.far,
    )


def find_point(model: "EmbeddingModel | OnnxModel") -> OperatingPoint:
    """The operating point of an exported file, or in the folder that a model was loaded from.

    Raises:
        LookalikeError: there is none, or it is of other weights; says how to get one.
    """
    point = file_point(model) if isinstance(model, OnnxModel) else None
    if point is not None:
        return point
    folder = model.folder
    if folder is None:
        raise LookalikeError(
            "this model was not loaded from a folder, so it has no operating_point.json; give threshold=0.6"
        )
    point = read_point(folder, model.space)
    if point is None:
        raise LookalikeError(
            f"{folder}: has no operating_point.json, the similarity from which on two photos show the "
            "same; training writes it where at least 3 identities are held out. To get one:\n"
            "  train with validation identities: lookalike train … val_share=0.2\n"
            "  or, with few identities, by cross-validation over the training identities, which gives the "
            "threshold of models of this recipe, not of this very model: see docs/verify.md\n"
            "  or take threshold@far=… of: lookalike evaluate "
            f"model={folder} dataset=… split=test out=…\n"
            "  or give one: threshold=0.6"
        )
    return point
