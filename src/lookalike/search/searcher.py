"""An index with its model loaded and checked, for programs that search with many photos."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from lookalike.data.decode import Box
from lookalike.data.image_input import ImageLike, refuse_single
from lookalike.errors import Problem
from lookalike.search.hits import SearchResults
from lookalike.search.index import By, Index

if TYPE_CHECKING:
    from lookalike.model.embedder import EmbeddingModel

NEARLY = 1e-2
"""How far from 1 half precision may leave the length of a vector."""


class Searcher:
    """Looks up photos in an index. `Index.search` does the same, and loads the model when it is first needed.

    Args:
        index: an index folder, or a loaded one.
        model: a model folder or a loaded model; by default the one that the index names.
        device: device to compute on; the CPU if not given.

    Raises:
        LookalikeError: the model is missing, or it is not the one that the index was built with.
    """

    def __init__(
        self,
        index: str | Path | Index,
        model: "str | Path | EmbeddingModel | None" = None,
        device: str | torch.device | None = None,
    ):
        self.index = (index if isinstance(index, Index) else Index.load(index)).with_model(model, device)
        self.model = self.index.loaded_model

    def search(
        self,
        images: Sequence[ImageLike],
        k: int = 5,
        skipped: list[Problem] | None = None,
        batch_size: int = 64,
        boxes: Sequence[Box | None] | None = None,
        by: By = "image",
    ) -> SearchResults:
        """The hits of each image; see `Index.search`.

        Raises:
            TypeError: a single image; pass a list.
        """
        refuse_single(images, "search")
        return self.index.search(list(images), k, by=by, box=boxes, batch_size=batch_size, skipped=skipped)

    def search_vectors(self, vectors: np.ndarray, k: int = 5, by: By = "image") -> SearchResults:
        """The hits of each vector [Q, D], which must have length 1 and come from the model of the index.

        Raises:
            ValueError: not a matrix, of another D, not finite, or not of length 1.
        """
        lengths = np.linalg.norm(np.asarray(vectors, np.float64), axis=-1)
        wrong = np.flatnonzero(np.abs(lengths - 1) > NEARLY)
        if len(wrong):
            raise ValueError(
                f"queries: row {wrong[0]} has the length {lengths.flat[wrong[0]]:.4g}, not 1, so it may "
                "not be an embedding; divide each row by its length, or use Index.search, which does"
            )
        return self.index.search(np.atleast_2d(vectors), k, by=by)
