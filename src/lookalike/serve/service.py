"""The parts of a running service, and what it answers with them."""

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from lookalike.data.decode import Box
from lookalike.errors import LookalikeError
from lookalike.evaluation.operating_point import OperatingPoint
from lookalike.evaluation.verify import find_point
from lookalike.machine import cores
from lookalike.model.onnx_model import OnnxModel
from lookalike.search.index import Index
from lookalike.search.query import picture_input, run_model
from lookalike.serve.batching import ModelThread
from lookalike.serve.errors import ApiError
from lookalike.serve.form import Upload
from lookalike.serve.gallery import Gallery
from lookalike.serve.metrics import Metrics
from lookalike.serve.photos import Photo, Preparer, Subject, as_jpeg
from lookalike.serve.settings import Settings
from lookalike.serve.uploads import Uploads

if TYPE_CHECKING:
    from lookalike.model.embedder import EmbeddingModel

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Embedded:
    """A subject of a photo, with its vector.

    Attributes:
        position: of the photo in the request.
        photo: the photo.
        subject: the subject.
        vector: [D].
    """

    position: int
    photo: Photo
    subject: Subject
    vector: np.ndarray


class Service:
    """A loaded index with its model, ready to answer.

    Args:
        index: loaded from its folder.
        settings: how to serve it.

    Raises:
        LookalikeError: the model is missing, or not the one that the index was built with.
    """

    def __init__(self, index: Index, settings: Settings):
        self.model: EmbeddingModel | OnnxModel = index.loaded_model  # checks the space of the index
        self.limits, self.access, self.detect = settings.limits, settings.access, settings.detect
        self.name, self.space = settings.index.name, index.space
        self.metrics = Metrics()
        self.pair_point, self.no_pair_point = _pair_point(self.model)
        self.gallery = Gallery(settings.index, index, settings.fpir, settings.validation)
        self.prepare = Preparer(self.model, settings.cropping, self.limits)
        self.uploads = Uploads()
        run = partial(run_model, self.model)
        run([picture_input(self.model, Image.new("RGB", (64, 64)))])  # the first pass takes longer
        self.thread = ModelThread(run, settings.batch_size, self.metrics.batch.observe)
        self.workers = ThreadPoolExecutor(max(2, min(8, cores())), "lookalike-photos")
        self.computing = 0
        self.is_ready = True

    @property
    def runtime(self) -> str:
        """What runs the model."""
        name = "ONNX Runtime" if isinstance(self.model, OnnxModel) else "PyTorch"
        return f"{name} on {self.model.device}"

    def close(self) -> None:
        """Finish what was begun, and release files and threads."""
        self.is_ready = False
        self.workers.shutdown()
        self.thread.close()
        self.gallery.close()
        self.uploads.clear()

    async def embed(
        self, uploads: Sequence[Upload], boxes: Sequence[Box | None]
    ) -> tuple[list[Embedded], list[Photo]]:
        """The subjects of photos with their vectors, and the photos.

        Raises:
            ApiError: no photo was sent, or too many requests compute already.
        """
        if not uploads:
            raise ApiError("bad_request", "no photo was sent; put it into the field image")
        if self.computing >= self.limits.queue:
            self.metrics.rejected.labels("busy").inc()
            raise ApiError("busy", "too many requests at a time; try again in a moment")
        self.computing += 1
        try:
            jobs = [self.run(self.prepare, *pair) for pair in zip(uploads, boxes, strict=True)]
            photos = await asyncio.gather(*jobs)
            subjects = [
                (position, photo, each) for position, photo in enumerate(photos) for each in photo.subjects
            ]
            if not subjects:
                return [], photos
            vectors = await asyncio.wrap_future(self.thread.submit([each.input for _, _, each in subjects]))
        finally:
            self.computing -= 1
        self.metrics.photos.labels("read").inc(sum(photo.error is None for photo in photos))
        self.metrics.photos.labels("rejected").inc(sum(photo.error is not None for photo in photos))
        return [Embedded(*subject, vector) for subject, vector in zip(subjects, vectors, strict=True)], photos

    async def embed_one(self, upload: Upload, box: Box | None) -> Embedded:
        """The largest subject of a photo.

        Raises:
            ApiError: there is none.
        """
        subjects, photos = await self.embed([upload], [box])
        if photos[0].error is not None:
            raise photos[0].error
        return subjects[0]

    async def run(self, work: Any, *arguments: Any) -> Any:
        """Work in a thread for photos."""
        return await asyncio.get_running_loop().run_in_executor(self.workers, work, *arguments)

    async def keep(self, subject: Embedded) -> str:
        """Keep a subject for a while, and return its id."""
        picture = await self.run(lambda: as_jpeg(subject.subject.picture()))
        return self.uploads.keep(subject.vector, picture)


def _pair_point(model: Any) -> tuple[OperatingPoint | None, str]:
    """The operating point of the model for pairs, or None and the reason."""
    try:
        return find_point(model), ""
    except LookalikeError as error:
        return None, str(error).splitlines()[0]
