"""The first batch of a training run, without the run."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lookalike.errors import DataError

if TYPE_CHECKING:
    import numpy as np

    from lookalike.cli.train import Config


@dataclass(frozen=True, eq=False)
class ShownBatch:
    """Images as the model sees them, uint8 [B, H, W, 3], and the names of their classes."""

    images: "np.ndarray"
    labels: list[object]


def load_first_batch(config: "Config") -> ShownBatch:
    """The batch that training would begin with, on one process, after augmentation.

    Raises:
        DataError: none of its images can be read.
    """
    from lookalike.cli._augment import build_augment
    from lookalike.cli._sampler import build_sampler
    from lookalike.cli._training import stage_configs
    from lookalike.data.datasets import drop_classes_below, join_tables, read_tables, split_validation
    from lookalike.data.images import ImageTable, collate
    from lookalike.data.table import class_ids

    stage = stage_configs(config)[0]
    tables = read_tables(config.dataset, config.data_dir)
    table = join_tables(tables)
    table.split("train")  # says which splits there are
    table = drop_classes_below(table, config.min_per_class)
    train = split_validation(table, config.val_share, config.seed).split("train")
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
    return ShownBatch(batch.images.permute(0, 2, 3, 1).contiguous().numpy(), labels)
