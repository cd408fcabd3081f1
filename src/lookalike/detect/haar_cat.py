"""Cat faces by OpenCV's Haar cascade: a weak detector that needs no download."""

from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Gt

from lookalike.detect.detection import Detection
from lookalike.errors import ConfigError

INSTALL = "pip install 'lookalike[faces]'"
STEP = 1.1
NAME = "haarcascade_frontalcatface_extended.xml"


class HaarCat:
    """Detects frontal cat faces; boxes only, many off-centre, some wrong.

    Viola & Jones 2001, with the cascade by Joseph Howse in OpenCV 4. Prefer a detector of your own, or boxes.

    Args:
        weights: another cascade as an XML file; None for OpenCV's.
        longest: images are resized to this many pixels on their longer side.
        neighbours: minimum number of overlapping hits per face; fewer find more faces and more false ones.
        min_size: minimum face size, as a fraction of the shorter side of the image.

    Raises:
        ConfigError: OpenCV 4 or the file is missing, or the file is not a cascade.
    """

    def __init__(
        self,
        weights: Path | None = None,
        longest: Annotated[int, Ge(32)] = 640,
        neighbours: Annotated[int, Ge(0)] = 3,
        min_size: Annotated[float, Gt(0)] = 0.1,
    ):
        self.file = None if weights is None else Path(weights).expanduser()
        self.longest, self.neighbours, self.min_size = longest, neighbours, min_size
        self._cascade  # noqa: B018 - reports a wrong file now

    def __call__(self, image: np.ndarray) -> list[Detection]:
        """The cat faces in an image, uint8 [H, W, 3]."""
        cv2 = _opencv()
        share = min(1, self.longest / max(image.shape[:2]))
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        shape = tuple(max(1, round(side * share)) for side in (image.shape[1], image.shape[0]))
        grey = cv2.resize(grey, shape, interpolation=cv2.INTER_AREA)
        least = max(1, round(self.min_size * min(shape)))
        boxes, _, sure = self._cascade.detectMultiScale3(
            grey, STEP, self.neighbours, minSize=(least, least), outputRejectLevels=True
        )
        return [
            Detection((x / share, y / share, (x + w) / share, (y + h) / share), float(score))
            for (x, y, w, h), score in zip(np.asarray(boxes).tolist(), np.ravel(sure), strict=True)
        ]

    @cached_property
    def _cascade(self) -> Any:
        cv2 = _opencv()
        file = self.file or Path(cv2.data.haarcascades, NAME)
        if not file.is_file():
            raise ConfigError(f"weights {file}: there is no such file")
        classifier = cv2.CascadeClassifier()
        try:
            fine = classifier.load(str(file))
        except cv2.error:
            fine = False
        if not fine:
            raise ConfigError(f"weights {file}: not a Haar cascade")
        return classifier


def _opencv() -> Any:
    """Import OpenCV 4; version 5 no longer has cascades."""
    try:
        import cv2
    except ImportError as error:
        missing = f": {error}" if "cv2" not in str(error) else ""
        raise ConfigError(f"detect=cat_face needs OpenCV 4{missing}: {INSTALL}") from error
    if not hasattr(cv2, "CascadeClassifier") or not hasattr(cv2, "data"):
        raise ConfigError(
            f"OpenCV {cv2.__version__} is installed, but detect=cat_face needs OpenCV 4: {INSTALL}"
        )
    return cv2
