"""A trained model whose embeddings a student learns from."""

import logging
from pathlib import Path

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor

from lookalike.data.transforms import Resize
from lookalike.errors import ConfigError, LookalikeError
from lookalike.model.embedder import EmbeddingModel, load

log = logging.getLogger(__name__)


class Teacher:
    """The embeddings that a trained model gives of the images that its student sees.

    It gets the student's images, changed as they are, in its own size and with its own normalisation. It is
    always in eval mode and learns nothing; no optimiser and no checkpoint holds it.

    Args:
        model: the trained model; moved to the accelerator's device.
        accelerator: its precision is that of the student.
        chunk: images in memory at once; all of a batch if not given.

    Attributes:
        dim: length of its embeddings.
        space: says which model it is.
    """

    def __init__(self, model: EmbeddingModel, accelerator: Accelerator, chunk: int | None = None):
        self.dim, self.space = model.dim, model.space
        self._model = model.to(accelerator.device).eval().requires_grad_(False)
        self._accelerator, self._chunk = accelerator, chunk

    def __call__(self, images: Tensor) -> Tensor:
        """Embeddings of length 1, [B, dim], of images [B, 3, H, W], uint8 in 0…255 or float in 0…1."""
        with torch.no_grad(), self._accelerator.autocast():
            parts = [
                self._model(resize_images(part, self._model.resize))
                for part in images.split(self._chunk or max(1, len(images)))
            ]
        return torch.cat(parts)


def resize_images(images: Tensor, resize_mode: Resize) -> Tensor:
    """Square images as large as a model wants them, by its kind of interpolation; float in 0…1 if changed."""
    if images.shape[-1] == resize_mode.size:
        return images
    scaled = images if images.is_floating_point() else images.float() / 255
    size = (resize_mode.size, resize_mode.size)
    return F.interpolate(scaled, size=size, mode=resize_mode.interpolation, antialias=True).clamp(0, 1)


def read_teacher(folder: Path, run: Path, student: Resize) -> EmbeddingModel:
    """The model of a teacher's folder, and a word in the log where it sees less than in its own training.

    Args:
        folder: a model folder, or a run folder that holds one.
        run: the run folder of the student.
        student: how the student's images are made square.

    Raises:
        ConfigError: it cannot be read, holds numbers that are none, or lies in the student's own run.
    """
    if folder.resolve().is_relative_to(run.resolve()):
        raise ConfigError(f"teacher={folder} lies in the run that it is to teach: take another out=")
    try:
        model = load(folder)
    except LookalikeError as error:
        raise ConfigError(f"teacher={folder} cannot be used: {error}") from error
    broken = [name for name, value in model.state_dict().items() if not value.isfinite().all()]
    if broken:
        raise ConfigError(f"teacher={folder}: its weights contain NaN or infinity ({broken[0]}, …)")
    resize = model.resize
    if resize.size > student.size:
        log.warning(
            "the teacher was trained on images of %d px and sees the student's of %d enlarged, so without "
            "their finest detail; image_size=%d gives both all of it",
            *(resize.size, student.size, resize.size),
        )
    if resize.how != student.how:
        log.warning("the teacher was trained with resize=%s and sees %s", resize.how, student.how)
    return model
