"""A picture of search results: each photo with its hits, and whether they are likely matches."""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from lookalike.plots.neighbours import gallery


@dataclass(frozen=True, eq=False)
class Looked:
    """A query photo.

    Attributes:
        name: of the photo.
        image: the photo, or the part of it that was looked up.
        hits: picture, label and score of each, nearest first.
        likely: whether the model's threshold says that the first hit shows the same; None without one.
    """

    name: str
    image: Image.Image
    hits: Sequence[tuple[Image.Image, str, float]]
    likely: bool | None = None


def search_picture(looked: Sequence[Looked], threshold: float | None = None, side: int = 144) -> Image.Image:
    """One row per photo: the photo, the answer, and its hits with label and score.

    Hits at or above the threshold have a blue frame and a tick, the others a dashed orange one and a cross;
    without a threshold all have a thin frame.

    Args:
        looked: at least one.
        threshold: similarity from which on two images show the same.
        side: pixels of a picture's side.

    Raises:
        ValueError: nothing was looked up.
    """

    def verdict(score: float) -> bool | None:
        return None if threshold is None else score >= threshold

    rows = [
        (each.image, [(image, label, score, verdict(score)) for image, label, score in each.hits])
        for each in looked
    ]
    answers = [(ANSWERS[each.likely], bool(each.likely)) for each in looked]
    known = all(each.likely is not None for each in looked)
    return gallery(rows, [each.name for each in looked], side, answers if known else ())


ANSWERS = {True: "likely the first one", False: "probably none", None: ""}
