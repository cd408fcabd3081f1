"""The vectors by which images are judged."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lookalike.clean.judging import folds_of, project_folds
from lookalike.clean.settings import Settings
from lookalike.data.table import Table
from lookalike.embeddings import Embeddings, embed
from lookalike.errors import ConfigError, DataError, list_problems

if TYPE_CHECKING:
    from lookalike.model.embedder import EmbeddingModel

log = logging.getLogger(__name__)
IMAGE_SIZE = 128
Spaces = list[tuple[np.ndarray, np.ndarray]]


def judging_spaces(table: Table, codes: np.ndarray, model: Any, settings: Settings) -> Spaces:
    """Rows to judge, and the vectors of all rows to judge them by, for each fold.

    Args:
        table: images that can be read.
        codes: class of each row.
        model: as in `lookalike.clean`.
        settings: how to embed.

    Raises:
        ConfigError: several models without a column `fold`, or with other folds.
        DataError: the embeddings lack rows of the table.
    """
    if isinstance(model, Sequence) and not isinstance(model, str):
        if len(model) == 1:
            return judging_spaces(table, codes, model[0], settings)
        return _spaces_of_folds(table, codes, model, settings)
    vectors = _vectors(table, model, settings)
    return list(project_folds(vectors, codes, folds_of(codes, settings.seed)))


def _spaces_of_folds(table: Table, codes: np.ndarray, models: Sequence[Any], settings: Settings) -> Spaces:
    """Each model judges the images of its fold, which it was not trained on."""
    if "fold" not in table.frame.columns:
        raise ConfigError(
            "several models judge one fold each, but the table has no column fold; `lookalike prepare split "
            "split=kfold` makes one"
        )
    folds = table.frame["fold"].fill_null(-1).to_numpy()
    expected = list(range(len(models)))
    if sorted(set(folds[folds >= 0].tolist())) != expected:
        raise ConfigError(
            f"{len(models)} models: the column fold must hold {expected}, one number for each model"
        )
    spaces = []
    for fold, model in enumerate(models):
        vectors = _vectors(table, model, settings)
        rows = np.flatnonzero((folds == fold) | ((folds < 0) & (fold == 0)))
        classes = folds_of(codes, settings.seed)
        for members, projected in project_folds(vectors, codes, classes):
            spaces.append((np.intersect1d(members, rows), projected))
    return spaces


def _vectors(table: Table, model: Any, settings: Settings) -> np.ndarray:
    if isinstance(model, Embeddings):
        return _rows_of_embeddings(table, model)
    if isinstance(model, str | Path):
        from lookalike.model.loading import load

        model = load(model)
    elif model is None:
        model = default_judge()
        log.info(
            "labels are judged by EfficientNet-Lite0 with ImageNet weights; model= takes a trained model"
        )
    options = {"batch_size": settings.batch_size, "workers": settings.workers or 0, "device": settings.device}
    embeddings = embed(model, table, progress=settings.progress, **options)
    if embeddings.skipped:
        raise DataError(
            f"{table.folder}: images changed while they were read:{list_problems(embeddings.skipped)}"
        )
    return embeddings.vectors


def _rows_of_embeddings(table: Table, embeddings: Embeddings) -> np.ndarray:
    """The vectors of the rows, found by path and box."""
    keys, known_keys = (_keys(one.relative_to("/")) for one in (table, embeddings.table))
    known = {key: row for row, key in enumerate(known_keys)}
    missing = [key[0] for key in keys if key not in known]
    if missing:
        raise DataError(
            f"the embeddings lack {len(missing)} images of the table, such as {missing[0]}; embed "
            "all of them with split=[train,val,test]"
        )
    return np.asarray(embeddings.vectors)[[known[key] for key in keys]]


def _keys(table: Table) -> list[tuple[Any, ...]]:
    return [(path, table.box(row)) for row, path in enumerate(table.frame["path"].to_list())]


def default_judge() -> "EmbeddingModel":
    """EfficientNet-Lite0 with the weights of its package, pooled, without a head."""
    from lookalike.data.transforms import Resize
    from lookalike.model import backbones, heads, pooling
    from lookalike.model.embedder import EmbeddingModel

    backbone, pool = backbones.efficientnet_lite0(), pooling.Native()
    head = heads.Identity(pooling.pooled_length(backbone, pool))
    return EmbeddingModel(backbone, pool, head, Resize(IMAGE_SIZE)).eval()
