"""From a photo to the indexed images that are most like it."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from lookalike.data.decode import Box
from lookalike.data.image_input import ImageLike, as_pillow_image, refuse_single
from lookalike.data.transforms import stack_images
from lookalike.errors import DataError, ImageError, LookalikeError, Problem
from lookalike.ranking.exact import ExactSearch
from lookalike.search.hits import Hit, Hits, SearchResults
from lookalike.search.index import Index

if TYPE_CHECKING:
    from lookalike.model.embedder import EmbeddingModel

By = Literal["image", "label"]
Nearest = tuple[list[list[float]], list[list[int]]]
"""Scores and rows of what is nearest, a list for each query."""
NEARLY = 1e-2
"""How far from 1 half precision may leave the length of a vector."""


class Searcher:
    """Looks images up in an index.

    Args:
        index: an index folder, or a loaded one.
        model: a model folder or a loaded model; by default the one that the index names.
        device: where to compute; the CPU if not given.

    Raises:
        LookalikeError: the model is not there, or its vectors are not those of the index.
    """

    def __init__(
        self,
        index: str | Path | Index,
        model: "str | Path | EmbeddingModel | None" = None,
        device: str | torch.device | None = None,
    ):
        self.name = "the index" if isinstance(index, Index) else str(index)
        self.index = index if isinstance(index, Index) else Index.load(index)
        self.model = _load_model(self.name, self.index, model, device)
        if self.model.space != self.index.space:
            raise LookalikeError(
                f"{self.name} holds vectors of the model {self.index.space}, but this model is "
                f"{self.model.space}: their vectors cannot be compared. Give the model that the index was "
                "made with (model=), or make a new index with this one (`lookalike index`)"
            )
        self._exact = ExactSearch(self.index.vectors, self.model.device)
        self._files, self._labels = self.index.table.frame["path"], self.index.table.frame["label"]

    def search(
        self,
        images: Sequence[ImageLike],
        k: int = 5,
        skipped: list[Problem] | None = None,
        batch_size: int = 64,
        boxes: Sequence[Box | None] | None = None,
        by: By = "image",
    ) -> SearchResults:
        """The `k` nearest indexed images of each image, nearest first; fewer if the index is smaller.

        A list for each image; a notebook shows it as pictures.

        Args:
            images: paths, PIL images, or uint8 arrays [H, W, 3].
            k: hits an image.
            skipped: takes note of images that cannot be read, which then have no hits.
            batch_size: images a forward pass.
            boxes: the part of each image to search with, x1 y1 x2 y2 in pixels of the upright image; None
            for all
                of it.
            by: `label` gives the `k` nearest labels, each with its nearest image.

        Raises:
            ValueError: as many boxes as images are needed, each with x1 < x2 and y1 < y2.
            DataError: some cannot be read, and `skipped` is not given; they are listed.
        """
        refuse_single(images, "search")
        parts = _checked_boxes(boxes, len(images))
        problems: list[Problem] = []
        hits = SearchResults()
        for start in range(0, len(images), batch_size):
            some = list(zip(images, parts, strict=True))[start : start + batch_size]
            hits += self._search_batch(some, k, by, start, problems)
        if problems and skipped is None:
            raise DataError(f"{len(problems)} of {len(images)} images cannot be read", problems)
        if skipped is not None:
            skipped.extend(problems)
        for image_hits, image in zip(hits, images, strict=True):
            image_hits.query = str(image) if isinstance(image, str | Path) else None
        return hits

    def search_vectors(self, vectors: np.ndarray, k: int = 5, by: By = "image") -> SearchResults:
        """The same for vectors of length 1 of the index's model, [Q, D].

        Raises:
            ValueError: they are no matrix, of another D, not finite or not of length 1.
        """
        lengths = np.linalg.norm(np.asarray(vectors, np.float64), axis=-1)
        wrong = np.flatnonzero(np.abs(lengths - 1) > NEARLY)
        if len(wrong):
            raise ValueError(
                f"queries: row {wrong[0]} has the length {lengths.flat[wrong[0]]:.4g}, not 1, so scores "
                "would be no cosines; divide each row by its length"
            )
        return self._nearest(vectors, k, by)

    def _nearest(self, vectors: np.ndarray, k: int, by: By) -> SearchResults:
        search = self._images if by == "image" else self._identities
        scores, rows = search(vectors, k)
        pairs = zip(rows, scores, strict=True)
        hits = (
            [self._hit(row, score) for row, score in zip(*rows_and_scores, strict=True) if row >= 0]
            for rows_and_scores in pairs
        )
        return SearchResults(Hits(rows_and_scores, self.index.table) for rows_and_scores in hits)

    def _images(self, vectors: np.ndarray, k: int) -> Nearest:
        scores, rows = self._exact.search(vectors, k)
        return scores.tolist(), rows.tolist()

    def _identities(self, vectors: np.ndarray, k: int) -> Nearest:
        """The nearest image of each of the `k` nearest labels: ever more images, until these are enough."""
        size, requested = len(self.index.table), min(k, self._labels.n_unique())
        depth, codes = min(8 * k, size), self._labels.rank("dense").to_numpy()
        while True:
            scores, rows = self._exact.search(vectors, depth)
            first = [np.sort(np.unique(codes[each], return_index=True)[1])[:k] for each in rows]
            if depth == size or all(len(each) == requested for each in first):
                break
            depth = min(4 * depth, size)
        return (
            [each[positions].tolist() for each, positions in zip(scores, first, strict=True)],
            [each[positions].tolist() for each, positions in zip(rows, first, strict=True)],
        )

    def _search_batch(
        self,
        images: Sequence[tuple[ImageLike, Box | None]],
        k: int,
        by: By,
        start: int,
        problems: list[Problem],
    ) -> list[Hits]:
        small = [
            self._prepare_image(image, box, start + offset, problems)
            for offset, (image, box) in enumerate(images)
        ]
        readable = [image for image in small if image is not None]
        if not readable:
            return [Hits() for _ in small]
        results = iter(self._nearest(self._vectors(stack_images(readable)), k, by))
        return [Hits() if image is None else next(results) for image in small]

    def _prepare_image(
        self, image: ImageLike, box: Box | None, row: int, problems: list[Problem]
    ) -> torch.Tensor | None:
        """What the model takes; the photo itself, which may be huge, is let go."""
        transform = self.model.transform()
        try:
            return transform(as_pillow_image(image, getattr(transform, "at_least", None), box))
        except ImageError as error:
            problems.append(Problem(error.path, error.reason, row))
            return None

    def _vectors(self, images: torch.Tensor) -> np.ndarray:
        was_training = self.model.training
        self.model.eval()
        try:
            with torch.inference_mode():
                return self.model(images.to(self.model.device)).float().cpu().numpy()
        finally:
            self.model.train(was_training)

    def _hit(self, row: int, score: float) -> Hit:
        path = self.index.table.folder / self._files[row]
        return Hit(_relative_path(path), self._labels[row], min(score, 1.0), row, self.index.table.box(row))


def _checked_boxes(boxes: Sequence[Box | None] | None, count: int) -> list[Box | None]:
    """A box, or None, for each image."""
    if boxes is None:
        return [None] * count
    if len(boxes) != count:
        raise ValueError(f"boxes: {len(boxes)} of them for {count} images; give one for each, or None")
    for box in boxes:
        if box is not None and not (len(box) == 4 and box[0] < box[2] and box[1] < box[3]):
            raise ValueError(f"box {box}: must be x1, y1, x2, y2 with x1 < x2 and y1 < y2")
    return list(boxes)


def _relative_path(path: Path) -> str:
    """A path that opens from the current folder, short where it lies below it."""
    resolved = path.resolve()
    current_folder = Path.cwd().resolve()
    return str(resolved.relative_to(current_folder) if resolved.is_relative_to(current_folder) else resolved)


def _load_model(
    name: str,
    index: Index,
    model: "str | Path | EmbeddingModel | None",
    device: str | torch.device | None,
) -> "EmbeddingModel":
    from lookalike.model.embedder import load

    if model is not None and not isinstance(model, str | Path):
        return model.to(device) if device else model
    folder = model or index.model
    if folder is None:
        raise LookalikeError(f"{name} does not say which model it was made with; give it with model=FOLDER")
    if model is None and not Path(folder).exists():
        raise LookalikeError(
            f"{name} was made with the model in {folder}, which is not there; give it with model=FOLDER"
        )
    return load(folder, device)
