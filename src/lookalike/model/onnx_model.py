"""An exported model, run by ONNX Runtime: pixels in, unit vectors out, without PyTorch."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lookalike.data.image_input import ImageLike, as_pillow_image, refuse_single
from lookalike.data.transforms import Resize
from lookalike.errors import ConfigError, LookalikeError
from lookalike.files import parse_json
from lookalike.model.truncation import truncate_model, truncate_vectors, truncated_space

FILE = "model.onnx"
FORMAT = 1
METADATA = "lookalike"
"""Key of the JSON text among the file's metadata that makes it usable on its own."""
REQUIRED = ("format", "space", "dim", "preprocess", "input", "precision")
MAX_BYTES = 2**31 - 1
"""Limit of a protobuf file; weights in a second file are never read."""


class Whole:
    """The transform of a graph that resizes by itself: the upright RGB image, as it is."""

    at_least = None

    def pixels(self, image: Image.Image) -> np.ndarray:
        """The image as uint8 [3, H, W]."""
        return np.asarray(image).transpose(2, 0, 1)


class OnnxModel:
    """A file that `lookalike export` wrote. It can embed, search and verify; training needs PyTorch.

    The file holds the weights, the preprocessing, the embedding space and the operating point. It contains no
    code, and weights outside of it are not read.

    Args:
        file: model.onnx.
        device: "cpu", or "cuda" where ONNX Runtime was installed with CUDA.
        threads: CPU threads; None leaves the choice to ONNX Runtime.

    Attributes:
        folder: what `lookalike.load` takes to load it again.
        metadata: what the file says about itself.
        truncation: dimensions that are kept of what the graph gives; None for all.

    Raises:
        LookalikeError: the file is damaged, was not written by `lookalike export`, or needs something that
            ONNX Runtime does not have.
        ConfigError: ONNX Runtime is not installed, or cannot use `device`.
    """

    def __init__(self, file: str | Path, device: str | None = None, threads: int | None = None):
        self.file = Path(file)
        self.folder: Path | None = self.file.parent if self.file.name == FILE else self.file
        self.device = "cpu" if device is None else str(device)
        self._session = _open_session(self.file, self.device, threads)
        self.metadata = _read_metadata(self.file, self._session)
        self.truncation: int | None = None
        self.resizes = bool(self.metadata["input"].get("any_size"))
        self.resize = Resize.from_dict(self.metadata["preprocess"])

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return self.truncation or int(self.metadata["dim"])

    @property
    def space(self) -> str:
        """ID of the embedding space."""
        whole = str(self.metadata["space"])
        return whole if self.truncation is None else truncated_space(whole, self.truncation)

    @property
    def matryoshka(self) -> tuple[int, ...]:
        """Dimensions that the model was trained to be truncated to."""
        return tuple(self.metadata.get("matryoshka", ()))

    def truncate(self, dim: int) -> "OnnxModel":
        """The model with the first `dim` dimensions of its embeddings, as `EmbeddingModel.truncate`."""
        return truncate_model(self, dim)

    @property
    def operating_point(self) -> dict[str, Any] | None:
        """The values of its operating_point.json; None if it has none."""
        return self.metadata.get("operating_point")

    def transform(self) -> Resize | Whole:
        """From an upright PIL image to the pixels that the graph takes."""
        return Whole() if self.resizes else self.resize

    def run(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Embeddings of length 1, float32 [B, dim], of images uint8 [3, H, W] as `transform` gives them."""
        if not len(images):
            return np.empty((0, self.dim), np.float32)
        batches = [image[None] for image in images] if self.resizes else [np.stack(images)]
        vectors = [self._run_graph(self._prepare(batch)) for batch in batches]
        whole = np.concatenate(vectors).astype(np.float32, copy=False)
        return whole if self.truncation is None else truncate_vectors(whole, self.truncation)

    def _run_graph(self, batch: np.ndarray) -> np.ndarray:
        try:
            return self._session.run(None, {self._session.get_inputs()[0].name: batch})[0]
        except Exception as error:  # ONNX Runtime has no common base of its exceptions
            raise LookalikeError(
                f"{self.file}: ONNX Runtime cannot run it: {' '.join(str(error).split())[:300]}"
            ) from error

    def __call__(self, images: Any) -> Any:
        """Embeddings of a batch [B, 3, H, W] uint8: a NumPy array of an array, a CPU tensor of a tensor."""
        array = images if isinstance(images, np.ndarray) else images.cpu().numpy()
        vectors = self.run(list(array))
        if isinstance(images, np.ndarray):
            return vectors
        import torch

        return torch.from_numpy(vectors)

    def embed(self, images: Sequence[ImageLike], batch_size: int = 64) -> np.ndarray:
        """Embeddings of a few images; for a data set use `lookalike.embed`.

        Args:
            images: paths, PIL images, or uint8 arrays [H, W, 3] (RGB) or [H, W] (grey).
            batch_size: images a run.

        Returns:
            float32 [N, dim], each row of length 1.

        Raises:
            ImageError: a file cannot be read; it is named.
        """
        refuse_single(images, "embed")
        vectors = [np.empty((0, self.dim), np.float32)]
        vectors += [self.run(batch) for batch in self._batches(images, batch_size)]
        return np.concatenate(vectors)

    def to(self, device: Any) -> "OnnxModel":
        """The model itself if it is there already, else the same file opened for another device."""
        if str(device) == self.device:
            return self
        moved = OnnxModel(self.file, str(device))
        moved.truncation = self.truncation
        return moved

    def _batches(self, images: Sequence[ImageLike], batch_size: int) -> Iterator[list[np.ndarray]]:
        transform = self.transform()
        for start in range(0, len(images), batch_size):
            some = images[start : start + batch_size]
            yield [transform.pixels(as_pillow_image(image, transform.at_least)) for image in some]

    def _prepare(self, batch: np.ndarray) -> np.ndarray:
        return batch if self.metadata["input"]["dtype"] == "uint8" else scale(batch, self.metadata["input"])


def scale(batch: np.ndarray, scaling: Mapping[str, Any]) -> np.ndarray:
    """What a backbone takes of uint8 images [B, 3, H, W], where the graph does not scale them itself.

    Args:
        batch: the images.
        scaling: "normalise": "image" for a mean of 0 and a deviation of 1 in each image, else "mean" and
            "std" per channel.
    """
    values = batch.astype(np.float32) / 255
    if scaling["normalise"] == "image":
        values -= values.mean((1, 2, 3), keepdims=True)
        least = max(1, values[0].size) ** -0.5
        return values / np.maximum(np.sqrt(np.square(values).mean((1, 2, 3), keepdims=True)), least)
    mean, std = (np.array(scaling[key], np.float32).reshape(1, 3, 1, 1) for key in ("mean", "std"))
    return (values - mean) / std


def _open_session(file: Path, device: str, threads: int | None) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise ConfigError(
            f"{file}: an ONNX file needs ONNX Runtime: pip install 'lookalike[onnx]'"
        ) from error
    providers = ["CPUExecutionProvider"]
    if device.startswith("cuda"):
        providers.insert(0, "CUDAExecutionProvider")
    if providers[0] not in onnxruntime.get_available_providers():
        raise ConfigError(f"device={device}: this ONNX Runtime has no CUDA; pip install onnxruntime-gpu")
    if device != "cpu" and not device.startswith("cuda"):
        raise ConfigError(f"device={device}: an ONNX file runs on cpu or cuda")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if threads or os.environ.get("OMP_NUM_THREADS", "").isdigit():
        options.intra_op_num_threads = threads or int(os.environ["OMP_NUM_THREADS"])
    return _load_session(onnxruntime, file, options, providers)


def _load_session(onnxruntime: Any, file: Path, options: Any, providers: list[str]) -> Any:
    """A session of the file's bytes: opened by name, ONNX Runtime would also read other files it names."""
    try:
        size = file.stat().st_size
        if not 0 < size <= MAX_BYTES:
            raise LookalikeError(f"{file}: {size:,} bytes; an ONNX file has at most {MAX_BYTES:,}")
        return onnxruntime.InferenceSession(file.read_bytes(), options, providers=providers)
    except FileNotFoundError as error:
        raise LookalikeError(f"{file}: there is no such file; `lookalike export` writes one") from error
    except LookalikeError:
        raise
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise LookalikeError(f"{file}: ONNX Runtime cannot open it: {reason}") from error


def _read_metadata(file: Path, session: Any) -> dict[str, Any]:
    text = session.get_modelmeta().custom_metadata_map.get(METADATA)
    if text is None:
        raise LookalikeError(
            f"{file}: was not written by `lookalike export`, so its preprocessing and embedding space are "
            "unknown. For vectors of other tools see embeddings=FILE"
        )
    try:
        metadata = parse_json(text)
        if not isinstance(metadata, dict) or not isinstance(metadata.get("input", {}), dict):
            raise ValueError("no JSON object")
        missing = [key for key in REQUIRED if key not in metadata]
        if missing:
            raise LookalikeError(f"{file}: its metadata lack {', '.join(missing)}; export it again")
        inputs, outputs = session.get_inputs(), session.get_outputs()
        Resize.from_dict(metadata["preprocess"])
        is_newer = int(metadata["format"]) > FORMAT
        fits = len(inputs) == 1 and len(outputs) == 1 and outputs[0].shape[-1] == int(metadata["dim"])
    except (ValueError, TypeError, KeyError) as error:
        raise LookalikeError(f"{file}: its metadata are damaged: {error!r}") from error
    if not fits:
        raise LookalikeError(f"{file}: its metadata do not fit its inputs and outputs; export it again")
    if is_newer:
        raise LookalikeError(f"{file}: format {metadata['format']} is newer than this version reads")
    return metadata
