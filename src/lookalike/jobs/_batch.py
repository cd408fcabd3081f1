"""The first batch of a training run, without the run."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lookalike.errors import DataError

if TYPE_CHECKING:
    import numpy as np

    from lookalike.jobs.train import Config


@dataclass(frozen=True, eq=False)
class Shown:
    """Images as the model sees them, uint8 [B, H, W, 3], and the names of their classes."""

    images: "np.ndarray"
    labels: list[object]


def first_batch_of(config: "Config") -> Shown:
    """The batch that training would begin with, on one process, after augmentation.

    Raises:
        DataError: none of its images can be read.
    """
    from lookalike.data.images import ImageTable, collate
    from lookalike.data.table import class_ids
    from lookalike.jobs._augment import build_augment
    from lookalike.jobs._datasets import joined, read_tables, with_validation, without_small
    from lookalike.jobs._sampler import build_sampler
    from lookalike.jobs._training import stages

    stage = stages(config)[0]
    tables = read_tables(config.dataset, config.data_dir)
    table = joined(tables)
    table.split("train")  # says which splits there are
    table = without_small(table, config.min_per_class)
    train = with_validation(table, config.val_share, config.seed).split("train")
    augment = build_augment(stage.augment, config.image_size, config.resize)
    enough = getattr(augment, "at_least", None)
    images = ImageTable(train, augment, class_ids(train.labels), seed=config.seed, at_least=enough)
    batches = build_sampler(stage, train, tables)(images.class_ids)
    for epoch_of in (batches, images):
        epoch_of.set_epoch(1)
    batch = collate(images.__getitems__(next(iter(batches))))
    if not len(batch.rows):
        raise DataError("none of the images of the first batch can be read", batch.skipped)
    labels = train.frame["label"].gather(batch.rows.numpy()).to_list()
    return Shown(batch.images.permute(0, 2, 3, 1).contiguous().numpy(), labels)
