"""A census of photos: which of them show the same individual, and how many individuals there are.

`lookalike.cluster` is the function below. It takes the name of this package there, so import the modules with
`from lookalike.cluster.clustering import …`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from lookalike.cluster.result import Clustering
    from lookalike.evaluation.validation_vectors import Validation
    from lookalike.search.index import Index

FPIR = 0.01


def cluster(
    source: Any,
    photos: Any = None,
    *,
    index: "Index | str | Path | None" = None,
    out: str | Path | None = None,
    fpir: float = FPIR,
    threshold: float | None = None,
    validation: "Validation" = None,
    together: str | Sequence[str] = ("encounter",),
    same: Sequence[tuple[Any, Any]] = (),
    different: Sequence[tuple[Any, Any]] = (),
    split: str | Sequence[str] | None = None,
    seed: int = 0,
    batch_size: int = 64,
    workers: int = 0,
    device: "str | torch.device | None" = None,
    progress: bool = False,
) -> "Clustering":
    """Group photos by individual, without labels.

    Two groups are joined if the mean similarity over all their pairs of photos reaches the threshold of
    identification, so one similar pair is not enough. With `index=`, photos that `Index.identify` knows get
    the name of the identity, and the others join an identity or a group in the same way.

    Args:
        source: a model or its folder, with photos as second argument; or `Embeddings`, their folder, a file
            of vectors, or vectors [N, D].
        photos: for a model: a folder of photos, a list of photos, a dataset folder, a table file, which needs
            no labels, or a `Table`. For vectors: None, or a `Table` with N rows.
        index: names the enrolled identities; its rejected suggestions are not made again.
        out: folder to write: clusters.parquet, clusters.csv, table.parquet and review.html; it must not
            exist.
        fpir: false positive identification rate: the share of strangers who may be given a name in an index
            that holds all groups. The threshold is chosen for it.
        threshold: cosine similarity, in place of `fpir`.
        validation: identities that the model was not trained on, as in `Index.identify`; those in the model
            folder if None.
        together: columns of the table; photos with equal values in one of them are of one individual.
        same: pairs of photos of one individual, as rows or paths.
        different: pairs of photos of two individuals, as rows or paths. Those in `different.csv` beside the
            table, from a review, are added.
        split: group only the photos of these splits.
        seed: of the interval of the number of individuals.
        batch_size: images per forward pass.
        workers: processes that read images.
        device: where the model computes; where it is if not given.
        progress: show a progress bar.

    Raises:
        ValueError: an argument is out of range, or there are too few validation identities.
        DataError: the photos or the table cannot be read.
        LookalikeError: a folder cannot be read, vectors are of another model, or `out` exists.
    """
    from lookalike.cluster.clustering import cluster_photos
    from lookalike.cluster.inputs import Relations, read_source
    from lookalike.files import refuse_existing

    if out is not None:
        refuse_existing(Path(out))
    columns = [together] if isinstance(together, str) else list(together)
    options = {"batch_size": batch_size, "workers": workers, "progress": progress}
    collection = read_source(source, photos, [split] if isinstance(split, str) else split, device, options)
    clustering = cluster_photos(
        collection,
        Relations(columns, same, different),
        index=index,
        fpir=fpir,
        threshold=threshold,
        validation=validation,
        seed=seed,
    )
    if out is not None:
        clustering.save(out)
    return clustering
