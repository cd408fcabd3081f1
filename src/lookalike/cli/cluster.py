"""The job `cluster`: unlabelled photos become groups, a census of who is there."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import Field

from lookalike.cli._vector_keys import Source
from lookalike.errors import ConfigError

log = logging.getLogger(__name__)


class Config(Source):
    """The keys of `lookalike cluster`; their defaults are in conf/cluster.yaml."""

    image: str | list[str] | None = Field(
        description="folder of photos, or text file with one path per line; [a,b] for several; needs model="
    )
    split: str | list[str] | None = Field(description="split to group, such as test; null groups all images")
    index: Path | None = Field(
        description="index folder: photos of enrolled identities get their names; null names none"
    )
    out: Path = Field(description="folder to write; must not exist yet")
    fpir: float = Field(
        gt=0,
        lt=1,
        description="false positive identification rate: share of strangers who may be given a name in an "
        "index that holds all groups; the threshold is chosen for it",
    )
    threshold: float | None = Field(
        ge=-1, le=1, description="cosine similarity at which groups are joined, in place of fpir"
    )
    validation: Path | None = Field(
        description="embeddings folder, or file of vectors with labels, of identities that the model was not "
        "trained on; null uses those in the model folder"
    )
    together: list[str] = Field(
        description="columns of the table; photos with equal values in one of them stay together"
    )
    seed: int = Field(ge=0, description="random seed of the interval of the number of individuals")


def main(config: Config) -> Path:
    """Group the photos, log what was found, and return the folder."""
    from lookalike.cluster.clustering import cluster_photos
    from lookalike.cluster.inputs import Relations, read_source
    from lookalike.cluster.result import summarise
    from lookalike.files import refuse_existing
    from lookalike.machine import choose_device, choose_workers, configure_memory

    refuse_existing(config.out)
    source, photos = _photos(config)
    device = choose_device(config.device)
    configure_memory(config.threads)
    options = {
        "batch_size": config.batch_size,
        "workers": choose_workers(config.workers, device),
        "progress": config.progress,
    }
    splits = [config.split] if isinstance(config.split, str) else config.split
    collection = read_source(source, photos, splits, device, options)
    if config.dim is not None:
        collection = replace(collection, embeddings=collection.embeddings.truncate(config.dim))
    clustering = cluster_photos(
        collection,
        Relations(config.together),
        index=config.index,
        fpir=config.fpir,
        threshold=config.threshold,
        validation=config.validation,
        seed=config.seed,
    )
    clustering.save(config.out, {"job": "cluster", **config.model_dump(mode="json")})
    point = clustering.point
    if point is not None:
        log.log(logging.WARNING if point.fpir > point.requested else logging.INFO, "%s", point)
    for line in summarise(clustering):
        log.info("%s", line)
    if clustering.has_files:
        log.info("review the groups: %s", config.out / "review.html")
    else:
        log.info("no review page: the photos are not where the table says, or there are only vectors")
    return config.out


def _photos(config: Config) -> tuple[Any, Any]:
    """The model or vectors, and the photos."""
    has_photos = [config.image is not None, config.dataset is not None]
    if config.embeddings is not None and not any(has_photos):
        if config.model is None:
            return config.embeddings, None
        from lookalike.embeddings import load_embeddings, require_model

        vectors = load_embeddings(config.embeddings, None, labelled=False)
        return require_model(vectors, config.embeddings, config.model), None
    if config.embeddings is not None or sum(has_photos) != 1:
        raise ConfigError("give embeddings=FOLDER, or model=FOLDER with image=FOLDER or dataset=FOLDER")
    model = config.model or _model_of_index(config.index)
    if config.image is not None:
        from lookalike.search.query import find_photos

        return model, [str(path) for path in find_photos(config.image)]
    if isinstance(config.dataset, list):
        from lookalike.data.datasets import read_datasets

        return model, read_datasets(config.dataset, config.data_dir)
    path = Path(str(config.dataset))
    return model, path if path.exists() else config.data_dir / path


def _model_of_index(index: Path | None) -> Path:
    if index is None:
        raise ConfigError("photos need model=FOLDER, or index=FOLDER that names its model")
    from lookalike.search.index import Index

    folder = Index.load(index).model_folder
    if folder is None:
        raise ConfigError(f"{index} does not say which model it was made with; give it with model=FOLDER")
    return folder
