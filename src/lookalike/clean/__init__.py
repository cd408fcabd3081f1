"""Errors of a dataset: copies of photos, duplicate identities, wrong labels, leaks and poor images.

`lookalike.clean` is the function below. It takes the name of this package there, so import the modules with
`from lookalike.clean.cleaning import …`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from lookalike.clean.cleaning import Cleaning
    from lookalike.data.table import Table
    from lookalike.embeddings import Embeddings
    from lookalike.model.embedder import EmbeddingModel


def clean(
    table: "Table | str | Path",
    model: "EmbeddingModel | Embeddings | str | Path | Sequence[EmbeddingModel | str | Path] | None" = None,
    *,
    out: str | Path | None = None,
    threshold: int = 10,
    mirrored: bool = False,
    identities: bool = True,
    accept: float = 0.5,
    seed: int = 0,
    batch_size: int = 64,
    workers: int | None = 0,
    device: "str | torch.device | None" = None,
    progress: bool = False,
) -> "Cleaning":
    """Find errors in a table of images, and propose changes. Nothing is changed.

    Args:
        table: a table, or a dataset folder or table file.
        model: judges identities and labels: a model or its folder, or `Embeddings` of the table. If not
            given, an EfficientNet-Lite0 with ImageNet weights. Several models judge one fold each: the
            column `fold` says which images a model was not trained on.
        out: folder to write: findings.parquet, patch.jsonl and review.html; it must not exist.
        threshold: bits of the 64-bit hash in which copies of a photo may differ, from 0 to 64.
        mirrored: also find copies that were mirrored.
        identities: also look for duplicate identities and wrong labels, which needs embeddings.
        accept: findings with at least this score are in the patch.
        seed: of the folds, and of the errors that are made to learn what errors look like.
        batch_size: images per forward pass.
        workers: processes that read images; 0 for none, None for one a core.
        device: where the model computes; where it is if not given.
        progress: show progress bars.

    Raises:
        ValueError: an argument is out of range.
        DataError: the table has no rows, or none of its images can be read.
        LookalikeError: a folder cannot be read, or `out` exists.
    """
    from lookalike.clean.cleaning import clean_table
    from lookalike.clean.settings import Settings

    settings = Settings(
        threshold=threshold,
        mirrored=mirrored,
        identities=identities,
        accept=accept,
        seed=seed,
        batch_size=batch_size,
        workers=workers,
        device=device,
        progress=progress,
    )
    cleaning = clean_table(table, model, settings, None if out is None else Path(out))
    if out is not None:
        cleaning.save(out)
    return cleaning
