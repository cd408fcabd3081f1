"""The first batch of a training run, without the run."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lookalike.data.datasets import drop_classes_below, join_tables, split_validation
from lookalike.data.images import ImageTable, collate
from lookalike.data.table import Table, class_ids
from lookalike.errors import DataError
from lookalike.training.sampling import build_sampler
from lookalike.training.settings import StageSettings, TrainSettings


@dataclass(frozen=True, eq=False)
class ShownBatch:
    """Images as the model sees them, uint8 [B, H, W, 3], and the names of their classes."""

    images: np.ndarray
    labels: list[object]


def load_first_batch(
    tables: Mapping[str, Table], settings: TrainSettings, stage: StageSettings
) -> ShownBatch:
    """The batch that training would begin with, on one process, after augmentation.

    Args:
        tables: the datasets, by name.
        settings: of the run.
        stage: the first one.

    Raises:
        DataError: none of its images can be read.
    """
    table = join_tables(tables)
    table.split("train")  # raises an error that lists the splits there are
    table = drop_classes_below(table, settings.min_per_class)
    train = split_validation(table, settings.val_share, settings.seed).split("train")
    enough = getattr(stage.augment, "at_least", None)
    images = ImageTable(train, stage.augment, class_ids(train.labels), seed=settings.seed, at_least=enough)
    batches = build_sampler(stage, train, tables)(images.class_ids)
    for epoch_of in (batches, images):
        epoch_of.set_epoch(1)
    batch = collate(images.__getitems__(next(iter(batches))))
    if not len(batch.rows):
        raise DataError("none of the images of the first batch can be read", batch.skipped)
    labels = train.frame["label"].gather(batch.rows.numpy()).to_list()
    return ShownBatch(batch.images.permute(0, 2, 3, 1).contiguous().numpy(), labels)
