"""From an uploaded photo to its subjects: faces, animals, or the photo as a whole."""

import io
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from PIL import Image

from lookalike.data.decode import Box, image_size, open_image
from lookalike.detect.cropping import Boxes, Cropping, select_detections, square_crop, whole_image_square
from lookalike.errors import ImageError
from lookalike.search.query import picture_input
from lookalike.serve.errors import ApiError
from lookalike.serve.form import Upload
from lookalike.serve.settings import Limits

if TYPE_CHECKING:
    from lookalike.model.embedder import EmbeddingModel
    from lookalike.model.onnx_model import OnnxModel

STORED_SIDE = 1280
"""Longer side of the pictures that are kept."""
QUALITY = {"quality": 95, "subsampling": 0}


@dataclass(frozen=True)
class Subject:
    """What a vector is computed of.

    Attributes:
        box: x1 y1 x2 y2 in pixels of the upright photo; None for the whole photo.
        input: of the model.
        picture: makes the picture that is kept if the subject is enrolled.
        score: of the detector.
    """

    box: tuple[float, float, float, float] | None
    input: Any
    picture: Callable[[], Image.Image]
    score: float = 1.0


@dataclass(frozen=True)
class Photo:
    """An uploaded photo.

    Attributes:
        name: of the file.
        size: width and height, upright.
        subjects: those found in it.
        error: why there are none.
    """

    name: str
    size: tuple[int, int]
    subjects: list[Subject]
    error: ApiError | None = None


class Preparer:
    """Makes model inputs of photos, as they were made for training.

    Args:
        model: the model.
        cropping: what the dataset was cropped with; None if its photos were used as they are.
        limits: of pixels and subjects.
    """

    def __init__(self, model: "EmbeddingModel | OnnxModel", cropping: Cropping | None, limits: Limits):
        self.model, self.cropping, self.limits = model, cropping, limits
        self._detecting = threading.Lock()  # detectors are made for one thread

    def __call__(self, upload: Upload, box: Box | None = None) -> Photo:
        """The subjects of a photo, or of a part of it; an error is in the result."""
        size = (0, 0)
        try:
            size = self._check_size(upload.data)
            return Photo(upload.name, size, self._subjects(upload.data, size, box))
        except ImageError as error:
            return Photo(
                upload.name, size, [], ApiError("unreadable_image", f"{upload.name}: {error.reason}")
            )
        except ApiError as error:
            return Photo(upload.name, size, [], ApiError(error.code, f"{upload.name}: {error.message}"))

    def _check_size(self, data: bytes) -> tuple[int, int]:
        width, height = image_size(io.BytesIO(data))
        if width * height > self.limits.max_pixels:
            raise ApiError(
                "too_large",
                f"{width} × {height} pixels are too many; at most {self.limits.max_pixels:,} are read. Make "
                "it smaller",
            )
        return width, height

    def _subjects(self, data: bytes, size: tuple[int, int], box: Box | None) -> list[Subject]:
        if box is not None:
            box = _clip_box(box, size)
        if self.cropping is None:
            at_least = getattr(self.model.transform(), "at_least", None)
            image = open_image(io.BytesIO(data), box, at_least)
            return [Subject(box, picture_input(self.model, image), lambda: stored_picture(data, box))]
        image = open_image(io.BytesIO(data))
        return self._crops(self.cropping, image, box)

    def _crops(self, cropping: Cropping, image: Image.Image, box: Box | None) -> list[Subject]:
        with self._detecting:
            detections = cropping.find(image, box)
        chosen = select_detections(detections, "all", box or (0, 0, *image.size))[: self.limits.max_faces]
        crops = [(each.box, cropping.crop(image, each), each.score) for each in chosen]
        if not crops and box is not None:  # somebody drew it because the detector finds nothing there
            crops = [(box, square_crop(image, box, cropping.margin, cropping.size), 1.0)]
        if not crops and (cropping.missing == "keep" or isinstance(cropping, Boxes)):
            crops = [(None, whole_image_square(image, None, cropping.size), 1.0)]
        if not crops:
            raise ApiError("nothing_detected", f"{cropping.nothing}; mark the subject with box=x1,y1,x2,y2")
        return [
            Subject(box, picture_input(self.model, crop), lambda crop=crop: crop, score)
            for box, crop, score in crops
        ]


def stored_picture(data: bytes, box: Box | None) -> Image.Image:
    """A photo or part of it: upright, without its EXIF data, at most `STORED_SIDE` pixels long."""
    image = open_image(io.BytesIO(data), box, STORED_SIDE)
    image.thumbnail((STORED_SIDE, STORED_SIDE), Image.Resampling.LANCZOS)
    return image


def as_jpeg(image: Image.Image, **options: Any) -> bytes:
    """The bytes of a JPEG file."""
    stream = io.BytesIO()
    image.save(stream, "JPEG", **(options or QUALITY))
    return stream.getvalue()


def _clip_box(box: Box, size: tuple[int, int]) -> Box:
    x1, y1, x2, y2 = max(box[0], 0), max(box[1], 0), min(box[2], size[0]), min(box[3], size[1])
    if x1 >= x2 or y1 >= y2:
        raise ApiError(
            "bad_request",
            f"box {','.join(map(str, box))} is outside the photo of {size[0]} × {size[1]} pixels",
        )
    return x1, y1, x2, y2
