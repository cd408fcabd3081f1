"""Searching an index with texts, or with texts and photos together."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from lookalike.errors import ConfigError, LookalikeError
from lookalike.metrics.inputs import unit_length
from lookalike.model.text import TextTower, load_text, require_space
from lookalike.model.text_encoders import Encoder
from lookalike.model.truncation import match_space
from lookalike.search.hits import Hits, SearchResults
from lookalike.search.index import Index
from lookalike.search.query import Photo, parse_query

log = logging.getLogger(__name__)


def search_texts(
    index: Index,
    texts: str | Sequence[str],
    photos: Sequence[Photo] = (),
    *,
    fusion: float = 0.5,
    k: int = 5,
    by: Literal["image", "label"] = "image",
    threshold: float | None = None,
    batch_size: int = 64,
    encoder: Encoder | None = None,
) -> SearchResults:
    """The `k` nearest indexed images of each text, or of each text together with a photo.

    With photos, similarities are fused late: `fusion` times that to the text plus 1 − `fusion` times that to
    the photo, divided by the length of this sum of unit vectors, so that a score is a cosine and the order is
    that of the weighted sum.

    Args:
        index: whose model has a text tower.
        texts: a text, or several.
        photos: none; or as many as there are texts; or one for all texts, or several for one text.
        fusion: weight of the text, from 0 to 1.
        k: number of hits; there are fewer if the index is smaller.
        by: as in `Index.search`.
        threshold: cosine similarity from which a hit is likely right; none if not given, since the model's
            threshold is for pairs of photos.
        batch_size: photos per forward pass.
        encoder: as in `load_text`.

    Raises:
        ConfigError: `fusion` is out of range, or numbers of texts and photos do not fit.
        LookalikeError: the model has no text tower, or one of another model; or a photo cannot be read.
    """
    if not 0 <= fusion <= 1:
        raise ConfigError(f"fusion={fusion:g}: must be from 0 (the photo alone) to 1 (the text alone)")
    words = [texts] if isinstance(texts, str) else list(texts)
    if not words:
        raise ConfigError("text: is empty; give at least one text")
    vectors = _text_tower(index, encoder).embed(words)
    names: Sequence[str | None] = words
    if len(photos):
        vectors, names = _fused_queries(index, words, vectors, photos, fusion, batch_size)
    results = index.search(vectors, k, by=by, threshold=1.0 if threshold is None else threshold)
    return SearchResults(
        _as_text_hits(hits, name, threshold) for hits, name in zip(results, names, strict=True)
    )


def _text_tower(index: Index, encoder: Encoder | None) -> TextTower:
    folder = index.model_folder
    if folder is None:
        raise LookalikeError(f"{index.name}: its model is not known; give it with model=FOLDER")
    tower = match_space(load_text(folder, encoder), index.space)
    require_space(tower, index.space, index.name)
    return tower


def _fused_queries(
    index: Index,
    words: Sequence[str],
    texts: np.ndarray,
    photos: Sequence[Photo],
    fusion: float,
    batch_size: int,
) -> tuple[np.ndarray, Sequence[str | None]]:
    """Vectors [n, D], and names of the photos."""
    images, names = index.embed_queries(parse_query(list(photos)), batch_size)
    count = max(len(words), len(images))
    if not {len(words), len(images)} <= {1, count}:
        raise ConfigError(
            f"{len(words)} texts and {len(images)} photos: give as many of both, or one of either"
        )
    log.info("fusion: %g × similarity to the text + %g × similarity to the photo", fusion, 1 - fusion)
    weighted = fusion * texts.astype(np.float64) + (1 - fusion) * images.astype(np.float64)
    return unit_length(weighted), [names[row % len(names)] for row in range(count)]


def _as_text_hits(hits: Hits, name: str | None, threshold: float | None) -> Hits:
    judged = hits if threshold is not None else [replace(hit, likely=None) for hit in hits]
    return Hits(judged, hits.table, name, threshold)
