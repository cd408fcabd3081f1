"""The work on one image in a worker process: decode, detect, crop, write."""

import functools
import multiprocessing
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from lookalike.data.decode import open_image
from lookalike.detect.cropping import Box, Cropping, select_detections, whole_image_square
from lookalike.detect.detection import Detection
from lookalike.errors import ImageError
from lookalike.files import replace_file

QUALITY = {"quality": 95, "subsampling": 0}


@dataclass(frozen=True)
class Task:
    """The task of one row.

    Attributes:
        file: the image.
        name: of the crops, without number and extension, relative to the folder of crops; with slashes.
        box: region of the row in the image, x1 y1 x2 y2; None for the whole image.
    """

    file: Path
    name: str
    box: Box | None = None


@dataclass(frozen=True)
class Written:
    """A written crop.

    Attributes:
        file: relative to the folder of crops.
        box: the detection, x1 y1 x2 y2 in pixels of the upright image; None for an image kept whole.
        landmarks: x and y of each, in pixels of the upright image.
        score: of the detection.
    """

    file: str
    box: tuple[float, ...] | None = None
    landmarks: tuple[float, ...] | None = None
    score: float | None = None


@dataclass(frozen=True)
class Outcome:
    """The outcome of a task.

    Attributes:
        count: number of detections.
        crops: the written ones; an image kept whole has one, although nothing was detected.
        reason: why there is no crop.
        none_found: whether the detector ran and found nothing.
        box: a remark on the box of the row: it was clipped, or, as the reason, is outside the image.
    """

    count: int = 0
    crops: tuple[Written, ...] = ()
    reason: str = ""
    none_found: bool = False
    box: str = ""


@dataclass(frozen=True)
class CropWorker:
    """Executes tasks; it is pickled and sent to a worker process with each chunk.

    Attributes:
        make: a module-level function that builds the cropping from `settings`, called once per process.
        settings: as text.
        folder: where crops go.
    """

    make: Callable[[str], Cropping]
    settings: str
    folder: Path

    def __call__(self, task: Task) -> Outcome:
        """Write the crops of one image.

        Raises:
            OSError: they cannot be written.
        """
        cropping = _build_cropping(self.make, self.settings)
        try:
            image = open_image(task.file)
            box, reason = (None, "") if task.box is None else _clip_box(task.box, image.size)
            if task.box is not None and box is None:
                return Outcome(reason=reason, box=reason)
            count, crops = _crop_image(cropping, image, box)
        except ImageError as error:
            return Outcome(reason=error.reason)
        except MemoryError:
            return Outcome(reason="not enough memory to run the detector")
        except Exception as error:
            return Outcome(reason=f"the detector failed: {type(error).__name__}: {_first_line(error)}")
        ending = cropping.format
        written = tuple(
            self._write(image, detection, f"{task.name}{f'-{number}' if number else ''}.{ending}")
            for number, (image, detection) in enumerate(crops)
        )
        return Outcome(count, written, "" if count else cropping.nothing, none_found=not count, box=reason)

    def _write(self, image: Image.Image, detection: Detection | None, name: str) -> Written:
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        kind, options = ("PNG", {}) if name.endswith(".png") else ("JPEG", QUALITY)
        replace_file(file, lambda temporary: image.save(temporary, kind, **options))
        if detection is None:
            return Written(name)
        points = None if detection.landmarks is None else tuple(map(float, detection.landmarks.ravel()))
        return Written(name, tuple(map(float, detection.box)), points, float(detection.score))


def _crop_image(
    cropping: Cropping, image: Image.Image, box: Box | None
) -> tuple[int, list[tuple[Image.Image, Detection | None]]]:
    """The number of detections in the image, or in its box, and the selected crops."""
    detections = cropping.find(image, box)
    selected = select_detections(detections, cropping.which, box or (0, 0, *image.size))
    if not detections and cropping.missing == "keep":
        return 0, [(whole_image_square(image, box, cropping.size), None)]
    return len(detections), [(cropping.crop(image, detection), detection) for detection in selected]


def _clip_box(box: Box, size: tuple[int, int]) -> tuple[Box | None, str]:
    """The part of a box inside the image, if any, and a remark if it was clipped or is outside."""
    (x1, y1, x2, y2), (width, height) = box, size
    if x1 >= width or y1 >= height:
        return None, f"box starts at {x1} {y1}, outside the image of {width} × {height} pixels"
    part = max(x1, 0), max(y1, 0), min(x2, width), min(y2, height)
    cut = f"box {x1} {y1} {x2} {y2} of an image of {width} × {height} pixels: clipped at its border"
    return part, "" if part == box else cut


@functools.lru_cache(maxsize=1)
def _build_cropping(make: Callable[[str], Cropping], settings: str) -> Cropping:
    cropping = make(settings)
    torch = sys.modules.get("torch")
    if torch is not None and multiprocessing.parent_process() is not None:
        torch.set_num_threads(1)  # a worker has one core
    return cropping


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or ["without a message"])[0]
