"""A gallery of vectors that can be searched with photos or vectors, and its folder."""

import json
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, get_args, overload

import numpy as np
import yaml
from PIL import Image

from lookalike.data.decode import Box
from lookalike.data.table import Table
from lookalike.data.transforms import check_choice
from lookalike.data.vectors import path_from, read_json, read_vectors, resolve_path, write_vectors
from lookalike.embeddings import Embeddings
from lookalike.errors import DataError, LookalikeError, Problem
from lookalike.evaluation.identification import FPIR
from lookalike.evaluation.operating_point import file_point, read_point
from lookalike.evaluation.validation_vectors import Validation
from lookalike.files import new_folder, refuse_existing, write_text
from lookalike.metrics.inputs import unit_length
from lookalike.model.loading import find_onnx
from lookalike.model.onnx_model import OnnxModel
from lookalike.model.truncation import match_space, split_space
from lookalike.search.gallery import gallery_embeddings, load_model
from lookalike.search.hits import Hits, SearchResults, make_hit
from lookalike.search.identify import identification_point, judge_encounter, judge_photos
from lookalike.search.nearest import find_nearest
from lookalike.search.numpy_search import NumpySearch
from lookalike.search.query import Photo, Query, checked_boxes, embed_photos, parse_query
from lookalike.search.rejections import Rejections, find_allowed
from lookalike.search.stored import read_entries, read_rejections, write_entries

if TYPE_CHECKING:  # exported models work without PyTorch
    import torch
    from numpy.typing import ArrayLike

    from lookalike.model.embedder import EmbeddingModel
    from lookalike.search.nearest import Engine

log = logging.getLogger(__name__)
EngineName = Literal["exact", "sqlite"]
By = Literal["image", "label"]
SMALL = 10_000
"""Vectors that NumPy searches as quickly as PyTorch."""


@dataclass(frozen=True, eq=False)
class Index:
    """A gallery that can be searched. Make one with `Index.build` or `Index.load`.

    Attributes:
        vectors: float32 [N, D], each of length 1.
        table: one row per vector.
        space: hash of the model; queries of another model are rejected.
        model: the model or its folder, where known; photos can only be searched with if it is.
        device: device to compute on; that of the model if not given, or else the CPU.
        name: of the index in messages.
        rejections: identities that are not suggested for certain photos.
    """

    vectors: np.ndarray
    table: Table
    space: str
    model: "EmbeddingModel | OnnxModel | Path | None" = None
    device: "str | torch.device | None" = None
    name: str = "the index"
    rejections: Rejections = field(default_factory=Rejections)

    @classmethod
    def build(
        cls,
        source: "EmbeddingModel | OnnxModel | Embeddings | ArrayLike | str | Path",
        labels: "Table | ArrayLike | str | Path | None" = None,
        *,
        out: str | Path | None = None,
        split: str | Sequence[str] | None = None,
        batch_size: int = 64,
        workers: int = 0,
        device: "str | torch.device | None" = None,
        progress: bool = False,
        metadata: Mapping[str, Any] | None = None,
        engine: EngineName = "exact",
        dim: int | None = None,
    ) -> Self:
        """An index of images or vectors.

        Args:
            source: a model or its folder, with a table as second argument; `Embeddings`, their folder, or a
                file of vectors; or vectors [N, D], which are normalised.
            labels: for a model, the images to index: a `Table`, a torch Dataset of (image, label), a dataset
                folder or a table file. For vectors, their identities [N], or a `Table` with N rows.
            out: index folder to write; it must not exist.
            split: index only these splits; all if not given.
            batch_size: images per forward pass, where a model is given.
            workers: number of processes that read images, where a model is given.
            device: device to compute on; a model is moved there.
            progress: show a progress bar on stderr.
            metadata: what made the index, for config.yaml in `out`.
            engine: of the index in `out`, as in `save`.
            dim: keep the first `dim` dimensions of the vectors, which are another space; all if not given.

        Raises:
            ConfigError: `dim` is more than the vectors have.
            ValueError: vectors that are not finite or zero, or labels that do not fit.
            LookalikeError: a folder, file or table cannot be read, or `out` exists.
        """
        if out is not None:
            refuse_existing(Path(out))
        splits = [split] if isinstance(split, str) else list(split or [])
        options = {"batch_size": batch_size, "workers": workers, "progress": progress}
        embeddings, model = gallery_embeddings(source, labels, splits, device, **options)
        embeddings = embeddings if dim is None else embeddings.truncate(dim)
        index = cls(embeddings.vectors, embeddings.table, embeddings.space, model, device)
        if out is None:
            return index
        index.save(out, metadata, engine)
        return replace(index, name=str(out))

    @classmethod
    def load(
        cls,
        folder: str | Path,
        model: "EmbeddingModel | OnnxModel | str | Path | None" = None,
        device: "str | torch.device | None" = None,
    ) -> Self:
        """An index folder; vectors stay on disk until they are used.

        Args:
            folder: what `Index.save` or `lookalike index` wrote.
            model: a model or its folder, in place of the one that the index names.
            device: device to compute on; the CPU if not given.

        Raises:
            LookalikeError: a file is missing or does not fit the others.
        """
        folder = Path(folder)
        facts = read_json(folder, "index.json", "an index folder; `lookalike index` makes one")
        stored = facts.get("engine") == "sqlite"
        vectors, table = read_entries(folder, int(facts["dim"])) if stored else read_vectors(folder)
        rejections = read_rejections(folder) if stored else Rejections()
        own_model = resolve_path(folder, facts.get("model"))
        index = cls(vectors, table, str(facts["space"]), own_model, None, str(folder), rejections)
        return index.with_model(model, device)

    def save(
        self, folder: str | Path, metadata: Mapping[str, Any] | None = None, engine: EngineName = "exact"
    ) -> None:
        """Write index.json and config.yaml, and vectors.npy and table.parquet, or else index.sqlite.

        Args:
            folder: must not exist.
            metadata: what made the index, for config.yaml.
            engine: `exact`, or `sqlite` for an index in which identities can be enrolled and forgotten.

        Raises:
            LookalikeError: `folder` exists.
        """
        check_choice("engine", engine, get_args(EngineName))
        folder, (size, dim) = Path(folder), self.vectors.shape
        facts = {"engine": engine, "space": self.space, "dim": dim, "count": size}
        with new_folder(folder) as temporary:
            if engine == "sqlite":
                del facts["count"]  # it changes
                write_entries(self.vectors, self.table, temporary, folder)
            else:
                write_vectors(self.vectors, self.table, temporary, folder)
            facts["model"] = path_from(folder, self.model_folder)
            write_text(temporary / "index.json", json.dumps(facts, indent=2) + "\n")
            metadata = metadata or {"made_by": "lookalike.Index.save"}
            write_text(
                temporary / "config.yaml", yaml.safe_dump(dict(metadata), sort_keys=False, allow_unicode=True)
            )

    def __len__(self) -> int:
        return len(self.vectors)

    def __repr__(self) -> str:
        size, dim = self.vectors.shape
        labels = self.table.frame["label"].n_unique()
        return f"Index({size:,} images × {dim}, {labels:,} labels, space {self.space})"

    def with_model(
        self,
        model: "EmbeddingModel | OnnxModel | str | Path | None" = None,
        device: "str | torch.device | None" = None,
    ) -> Self:
        """The same index with another model or device; what is None stays."""
        model = Path(model) if isinstance(model, str) else model
        model = self.model if model is None else model
        return replace(self, model=model, device=device or self.device)

    def truncate(self, dim: int) -> Self:
        """The same index with the first `dim` dimensions of its vectors, which are another space.

        A warning is logged if the model was not trained for that (`matryoshka=`).

        Raises:
            ConfigError: `dim` is more than the vectors have.
        """
        vectors = Embeddings(self.vectors, self.table, self.space, model=self.model_folder).truncate(dim)
        return replace(self, vectors=vectors.vectors, space=vectors.space)

    @overload
    def search(
        self,
        query: "str | Path | Image.Image",
        k: int = 5,
        *,
        by: By = "image",
        threshold: float | None = None,
        box: Box | None = None,
        batch_size: int = 64,
        skipped: list[Problem] | None = None,
    ) -> Hits: ...

    @overload
    def search(
        self,
        query: "Embeddings | Sequence[Photo]",
        k: int = 5,
        *,
        by: By = "image",
        threshold: float | None = None,
        box: Sequence[Box | None] | None = None,
        batch_size: int = 64,
        skipped: list[Problem] | None = None,
    ) -> SearchResults: ...

    @overload
    def search(
        self,
        query: "np.ndarray | torch.Tensor | Sequence[float] | Sequence[Sequence[float]]",
        k: int = 5,
        *,
        by: By = "image",
        threshold: float | None = None,
        box: Box | Sequence[Box | None] | None = None,
        batch_size: int = 64,
        skipped: list[Problem] | None = None,
    ) -> Any: ...

    def search(
        self,
        query: Any,
        k: int = 5,
        *,
        by: By = "image",
        threshold: float | None = None,
        box: Box | Sequence[Box | None] | None = None,
        batch_size: int = 64,
        skipped: list[Problem] | None = None,
    ) -> Hits | SearchResults:
        """The `k` nearest indexed images, nearest first; of equal similarities the lower row first.

        Args:
            query: a photo (path, PIL image, uint8 array [H, W, 3], or tensor [3, S, S] as the model takes
                it), or a vector [D] of the same model. Or several: a list of photos, in which a folder or
                text file stands for the photos it names; images [B, 3, S, S]; vectors [Q, D]; or
                `Embeddings`. Vectors are normalised.
            k: number of hits; there are fewer if the index is smaller.
            by: `label` returns the `k` nearest identities, each with its nearest image.
            threshold: cosine similarity from which a hit is likely right; that of the model's operating
                point if not given.
            box: the part of the photo to search with, x1 y1 x2 y2 in pixels of the upright photo; a list with
                one for each photo, or None, where there are several.
            batch_size: photos per forward pass.
            skipped: a list that receives the photos that cannot be read, which then have no hits.

        Returns:
            The `Hits` of a single photo or vector, or else `SearchResults`, the `Hits` of each.

        Raises:
            ValueError: `k`, `by`, `threshold`, `box` or the vectors are wrong.
            TypeError: the query is something else.
            DataError: no photo can be read, or some cannot and `skipped` is not given; they are listed.
            LookalikeError: the model is missing, or not the one that the index was built with.
        """
        check_choice("by", by, get_args(By))
        if threshold is not None and not -1 <= threshold <= 1:
            raise ValueError(f"threshold={threshold:g}: must be from -1 to 1")
        parsed = parse_query(query)
        boxes = checked_boxes(box, parsed)
        vectors, positions = self._query_vectors(parsed, boxes, batch_size, skipped)
        limit = self.threshold if threshold is None else float(threshold)
        labels = self.table.frame["label"]
        if self.rejections:
            refused = self.rejections.of_photos([parsed.names[each] for each in positions], vectors)
            scores, rows = find_allowed(self._engine, vectors, k, labels, by == "label", refused)
        else:
            scores, rows = find_nearest(self._engine, vectors, k, labels if by == "label" else None)
        results = SearchResults(Hits((), self.table, name, limit) for name in parsed.names)
        for position, query_scores, query_rows in zip(positions, scores, rows, strict=True):
            hits = zip(query_rows, query_scores, strict=True)
            results[position].extend(
                make_hit(self.table, row, score, limit) for row, score in hits if row >= 0
            )
        return results[0] if parsed.is_single else results

    def identify(
        self,
        query: Any,
        *,
        fpir: float = FPIR,
        validation: Validation = None,
        encounter: bool = False,
        k: int = 5,
        box: Box | Sequence[Box | None] | None = None,
        batch_size: int = 64,
        skipped: list[Problem] | None = None,
    ) -> Any:
        """Who is shown: an indexed identity, someone new, or that the photo cannot tell.

        The threshold is chosen for the number of identities in the index and for their photos, on validation
        identities, so that at most `fpir` of photos of strangers are given a name.

        Args:
            query: as in `search`.
            fpir: false positive identification rate: the share of strangers who may be given a name. Where
                the validation identities cannot show it, the finest rate that they can is promised.
            validation: vectors of identities that the model was not trained on: `Embeddings`, their folder, a
                file of vectors, or a tuple of vectors and labels; those in the model folder if not given.
            encounter: whether all photos show the same one and get one answer.
            k: number of identities in `hits`.
            box: as in `search`.
            batch_size: photos per forward pass.
            skipped: a list that receives the photos that cannot be read, which then have no answer.

        Returns:
            An `Identification` for a single photo or vector, or for an encounter; or else a list of them.

        Raises:
            ValueError: there are too few validation identities, or an argument is wrong.
            TypeError: the query is something else.
            DataError: no photo can be read, or some cannot and `skipped` is not given; they are listed.
            LookalikeError: the model or the validation vectors are missing, or of another model.
        """
        depth = self.table.frame["label"].n_unique() if encounter else k
        options: dict[str, Any] = {
            "by": "label",
            "box": box,
            "batch_size": batch_size,
            "skipped": skipped,
            "threshold": 1.0,
        }
        point = identification_point(self, fpir, validation)
        before = len(skipped or ())
        results = self.search(query, max(depth, 1), **options)
        unread = {problem.row for problem in (skipped or [])[before:]}
        every = [results] if isinstance(results, Hits) else results
        judged = [hits for row, hits in enumerate(every) if row not in unread]
        if encounter:
            point = identification_point(self, fpir, validation, len(judged))
            return judge_encounter(judged, point, k)
        answers = judge_photos(judged, point, k)
        return answers[0] if isinstance(results, Hits) else answers

    @property
    def model_folder(self) -> Path | None:
        """The folder of the model, where known."""
        return self.model if self.model is None or isinstance(self.model, Path) else self.model.folder

    @cached_property
    def loaded_model(self) -> "EmbeddingModel | OnnxModel":
        """The model, loaded when it is first used.

        Raises:
            LookalikeError: it is not known or not there, or not the one that the index was built with.
        """
        if self.model is None:
            raise LookalikeError(
                f"{self.name} does not say which model it was made with; give it with model=FOLDER"
            )
        if isinstance(self.model, Path) and not self.model.exists():
            raise LookalikeError(
                f"{self.name}: its model is expected in {self.model}, which is not there; give it with "
                "model=FOLDER"
            )
        model = match_space(load_model(self.model, self.device), self.space)
        self._check_space(model.space, "this model is")
        return model

    @cached_property
    def threshold(self) -> float | None:
        """The threshold of the model's operating point; None without one."""
        folder = self.model_folder
        if folder is None:
            return None
        model = self.model if find_onnx(folder) is None else self.loaded_model
        if isinstance(model, OnnxModel):
            point = file_point(model)
        else:
            point = read_point(folder, self.space if isinstance(self.model, Path) else None)
        if point is None or point.space != self.space:  # a model may have been trained since it was loaded
            log.info(
                "the model has no operating_point.json, so hits are not judged and likely is null; "
                "threshold=0.6 sets a threshold, and `lookalike evaluate` reports one"
            )
            return None
        return point.threshold

    @cached_property
    def _engine(self) -> "Engine":
        loaded = self.__dict__.get("loaded_model")
        exported = isinstance(self.model, OnnxModel) or isinstance(loaded, OnnxModel)
        if exported and "torch" not in sys.modules and len(self) < SMALL:
            return NumpySearch(self.vectors)  # importing PyTorch takes longer than many searches
        try:
            from lookalike.ranking.exact import ExactSearch
        except ImportError as error:
            if error.name != "torch":
                raise
            return NumpySearch(self.vectors)
        return ExactSearch(self.vectors, self.device or (loaded.device if loaded is not None else None))

    def _check_space(self, space: str, subject: str) -> None:
        if space != self.space:
            whole, dim = split_space(self.space)
            if dim is not None and space == whole:
                raise LookalikeError(
                    f"{self.name} holds the first {dim} dimensions of its vectors, but {subject} of all; "
                    f"truncate them: truncate({dim})"
                )
            raise LookalikeError(
                f"{self.name} holds vectors of the model {self.space}, but {subject} "
                f"{space}: their vectors cannot be compared. Give the model that the index was "
                "made with (model=), or make a new index with this one (`lookalike index`)"
            )

    def embed_queries(self, query: Query, batch_size: int = 64) -> tuple[np.ndarray, Sequence[str | None]]:
        """Unit vectors [n, D] of the photos of a query, and their names.

        Raises:
            DataError: a photo cannot be read.
            LookalikeError: the model is missing, or not the one that the index was built with.
        """
        boxes: list[Box | None] = [None] * len(query.photos)
        return self._query_vectors(query, boxes, batch_size, None)[0], query.names

    def _query_vectors(
        self, query: Query, boxes: Sequence[Box | None], batch_size: int, skipped: list[Problem] | None
    ) -> tuple[np.ndarray, Sequence[int]]:
        """The vectors of the query, [n, D], and which of its parts they are of, [n]."""
        if query.vectors is not None:
            if query.space is not None:
                self._check_space(query.space, "these embeddings are of")
            return unit_length(query.vectors), range(len(query.vectors))
        vectors, positions, problems = embed_photos(self.loaded_model, query.photos, boxes, batch_size)
        if not positions:
            raise DataError("no image to search with can be read", problems)
        if problems and skipped is None:
            raise DataError(f"{len(problems)} of {len(query.photos)} images cannot be read", problems)
        if skipped is not None:
            skipped.extend(problems)
        return vectors, positions
