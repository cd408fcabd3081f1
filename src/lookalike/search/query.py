"""What an index can be searched with: photos, folders and lists of photos, or vectors."""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from lookalike.data.decode import Box
from lookalike.data.formats import ENDINGS
from lookalike.data.image_input import ImageLike, as_pillow_image
from lookalike.data.shards import image_exists
from lookalike.embeddings import Embeddings
from lookalike.errors import ImageError, LookalikeError, Problem
from lookalike.model.onnx_model import OnnxModel

if TYPE_CHECKING:  # exported models work without PyTorch
    from torch import Tensor

    from lookalike.model.embedder import EmbeddingModel

    Photo = ImageLike | Tensor
else:
    Photo = ImageLike
LISTS = {".txt", ".lst", ".list"}
"""Endings of text files with one path per line."""
KINDS = (
    "a path, a PIL image, a uint8 array [H, W, 3], a tensor [3, S, S], a vector [D], vectors [Q, D], "
    "Embeddings, or a list of these"
)


@dataclass(frozen=True)
class Query:
    """What to search with.

    Attributes:
        photos: paths, pictures or tensors [3, S, S]; empty if there are vectors.
        vectors: [Q, D], of any length; None if there are photos.
        space: of the vectors, where known.
        names: of the photos or vectors, where known.
        is_single: whether one photo or vector was given, not a list.
    """

    photos: Sequence[Photo] = ()
    vectors: np.ndarray | None = None
    space: str | None = None
    names: Sequence[str | None] = field(default_factory=list)
    is_single: bool = False


def parse_query(query: Any) -> Query:
    """Classify what `Index.search` is given.

    Raises:
        LookalikeError: a single path is a folder or list, a folder or list contains no photo, or no photo
            exists.
        TypeError: it is none of these.
        ValueError: an empty list.
    """
    if isinstance(query, Embeddings):
        paths = query.table.frame["path"].to_list()
        return Query(vectors=query.vectors, space=query.space, names=paths)
    if isinstance(query, str | Path):
        _refuse_several(query)
        return _photo_query([query], is_single=True)
    if isinstance(query, Image.Image):
        return _photo_query([query], is_single=True)
    if _is_tensor(query):
        return _tensor_query(query)
    if isinstance(query, np.ndarray):
        return _array_query(query)
    if not isinstance(query, Iterable):
        raise TypeError(f"search: the query is {KINDS}; got {type(query).__name__}")
    return _list_query(list(query))


def find_photos(images: str | Path | Sequence[str | Path]) -> list[Path]:
    """The photos that paths refer to; a folder stands for the photos in it and its subfolders, by name.

    Args:
        images: a photo, a folder, a text file (.txt, .lst, .list) with one path per line, or a list of these.
            A relative path in a text file starts in the current folder, or else in that of the text file.

    Raises:
        LookalikeError: a folder or text file contains no photo, or cannot be read.
    """
    if not isinstance(images, str | Path):
        return [photo for path in images for photo in find_photos(path)]
    path = Path(images).expanduser()
    if path.is_dir():
        photos = sorted(file for file in path.rglob("*") if file.suffix.lower() in ENDINGS and file.is_file())
    elif path.suffix.lower() in LISTS and path.is_file():
        photos = _read_photo_list(path)
    else:
        photos = [path]
    if not photos:
        raise LookalikeError(f"image={images}: contains no photos")
    return photos


def checked_boxes(boxes: Any, query: Query) -> list[Box | None]:
    """A box, or None, for each photo of a query.

    Raises:
        ValueError: there are too many or too few, or one has no area.
    """
    count = len(query.photos)
    if boxes is None:
        return [None] * count
    if query.vectors is not None:
        raise ValueError("box: is a part of a photo, and the query is vectors")
    boxes = [boxes] if query.is_single else boxes
    if len(boxes) != count:
        raise ValueError(f"boxes: {len(boxes)} of them for {count} images; give one for each, or None")
    for box in boxes:
        if box is not None and not (len(box) == 4 and box[0] < box[2] and box[1] < box[3]):
            raise ValueError(f"box {box}: must be x1, y1, x2, y2 with x1 < x2 and y1 < y2")
    return list(boxes)


def embed_photos(
    model: "EmbeddingModel | OnnxModel", photos: Sequence[Photo], boxes: Sequence[Box | None], batch_size: int
) -> tuple[np.ndarray, list[int], list[Problem]]:
    """Vectors of photos, or of parts of them.

    Args:
        model: computes them; it keeps its mode.
        photos: as in `Query`.
        boxes: the part of each photo, or None.
        batch_size: photos per forward pass.

    Returns:
        The vectors, float32 [n, D], of the photos that can be read; their positions [n]; and the others.
    """
    vectors, positions, problems = [np.empty((0, model.dim), np.float32)], list[int](), list[Problem]()
    for start in range(0, len(photos), batch_size):
        inputs = list[Any]()
        for position in range(start, min(start + batch_size, len(photos))):
            try:
                inputs.append(_model_input(model, photos[position], boxes[position]))
                positions.append(position)
            except ImageError as error:
                problems.append(Problem(error.path, error.reason, position))
        if inputs:
            vectors.append(run_model(model, inputs))
    return np.concatenate(vectors), positions, problems


def picture_input(model: "EmbeddingModel | OnnxModel", image: Image.Image) -> Any:
    """The input of the model for an upright RGB image."""
    transform = model.transform()
    return transform.pixels(image) if isinstance(model, OnnxModel) else transform(image)  # type: ignore[operator]


def run_model(model: "EmbeddingModel | OnnxModel", inputs: Sequence[Any]) -> np.ndarray:
    """Vectors [n, D] of inputs that `picture_input` made."""
    return model.run(inputs) if isinstance(model, OnnxModel) else _forward_pass(model, inputs)


def _model_input(model: "EmbeddingModel | OnnxModel", photo: Photo, box: Box | None) -> Any:
    """The small picture that the model takes; the photo itself, which may be huge, is released."""
    if _is_tensor(photo):
        if box is not None:
            raise ValueError(f"box {box}: a tensor is passed to the model as it is; crop it yourself")
        return photo.cpu().numpy() if isinstance(model, OnnxModel) else photo  # type: ignore[union-attr]
    transform = model.transform()
    return picture_input(model, as_pillow_image(photo, getattr(transform, "at_least", None), box))  # type: ignore[arg-type]


def _is_tensor(value: Any) -> bool:
    """Whether it is a tensor of PyTorch, which need not be installed."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def _forward_pass(model: "EmbeddingModel", inputs: "Sequence[Tensor]") -> np.ndarray:
    import torch

    from lookalike.data.transforms import stack_images

    images = stack_images(inputs)
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            return model(images.to(model.device)).float().cpu().numpy()
    finally:
        model.train(was_training)


def _refuse_several(path: str | Path) -> None:
    """Refuse a folder or list where one photo is expected, since its results would be a list of lists."""
    file = Path(path).expanduser()
    if file.is_dir() or (file.suffix.lower() in LISTS and file.is_file()):
        raise LookalikeError(
            f"image={path}: is a folder or list of photos; to search with all of them: search([…])"
        )


def _photo_query(photos: Sequence[Photo], is_single: bool = False) -> Query:
    paths = [isinstance(photo, str | Path) for photo in photos]
    if paths and all(paths) and not any(image_exists(Path(str(photo)).expanduser()) for photo in photos):
        listed = ", ".join(map(str, photos[:3])) + (", …" if len(photos) > 3 else "")
        raise LookalikeError(f"image={listed}: no such photo, folder or list of photos")
    names = [str(photo) if is_path else None for photo, is_path in zip(photos, paths, strict=True)]
    files = [
        Path(str(photo)).expanduser() if is_path else photo
        for photo, is_path in zip(photos, paths, strict=True)
    ]
    return Query(files, names=names, is_single=is_single)


def _tensor_query(query: "Tensor") -> Query:
    """Vectors [D] or [Q, D], or images [3, S, S] or [B, 3, S, S]."""
    if query.ndim in (3, 4) and query.shape[-3] == 3:
        images = query if query.ndim == 4 else query[None]
        return _photo_query(list(images), query.ndim == 3)
    if query.ndim in (1, 2) and query.is_floating_point():
        return _vector_query(query.detach().float().cpu().numpy())
    raise TypeError(
        f"search: a tensor is images [3, S, S] or [B, 3, S, S], or vectors [D] or [Q, D]; got "
        f"{query.dtype} {list(query.shape)}"
    )


def _array_query(query: np.ndarray) -> Query:
    """An image [H, W] or [H, W, C] of uint8, or vectors [D] or [Q, D] of another type."""
    if query.dtype == np.uint8:
        return _photo_query([query], True) if query.ndim < 4 else _photo_query(list(query))
    return _vector_query(query)


def _vector_query(vectors: np.ndarray) -> Query:
    if vectors.ndim not in (1, 2) or vectors.dtype.kind not in "fiu":
        raise TypeError(
            f"search: vectors are numbers [D] or [Q, D], an image array is uint8 [H, W, 3]; got "
            f"{vectors.dtype} {list(vectors.shape)}"
        )
    rows = np.atleast_2d(vectors)
    return Query(vectors=rows, names=[None] * len(rows), is_single=vectors.ndim == 1)


def _list_query(queries: list[Any]) -> Query:
    if not queries:
        raise ValueError("search: the list is empty; give at least one photo or vector")
    if all(isinstance(each, Real) for each in queries):
        return _vector_query(np.asarray(queries, np.float64))
    if all(_is_tensor(each) for each in queries):
        import torch

        return _tensor_query(torch.stack(queries))
    if all(_is_vector(each) for each in queries):
        return _vector_query(np.stack([np.asarray(each, np.float64) for each in queries]))
    photos = list[Photo]()
    for each in queries:
        photos += find_photos(each) if isinstance(each, str | Path) else [each]
    wrong = [each for each in photos if not isinstance(each, Path | Image.Image | np.ndarray)]
    if wrong:
        raise TypeError(f"search: the query is {KINDS}; this list contains {type(wrong[0]).__name__}")
    return _photo_query(photos)


def _is_vector(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.ndim == 1
    return isinstance(value, list | tuple) and all(isinstance(each, Real) for each in value)


def _read_photo_list(file: Path) -> list[Path]:
    """The paths in a text file."""
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise LookalikeError(f"image={file}: cannot be read as a list of paths: {error}") from error
    paths = [Path(line).expanduser() for line in lines if line]
    return [path if image_exists(path) else file.parent / path for path in paths]
