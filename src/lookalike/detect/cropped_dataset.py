"""A dataset folder whose images are crops of faces, animals or boxes."""

from pathlib import Path

from lookalike.detect.crop_table import CropJob, detect_and_crop
from lookalike.errors import ConfigError
from lookalike.prepare.make_dataset import DatasetSettings, Rows, write_dataset
from lookalike.prepare.splits.assigned import Split


def refuse_shrink(shrink: int | None) -> None:
    """Refuse smaller copies of images that are cropped.

    Raises:
        ConfigError: `shrink` is set; says what to set instead.
    """
    if shrink:
        raise ConfigError(
            f"shrink={shrink}: detect works on the original images and sets the size of its crops: "
            f"detect.size={shrink} instead of shrink"
        )


def make_cropped_dataset(rows: Rows, split: Split, settings: DatasetSettings, job: CropJob) -> Path:
    """Crop the images of these rows, split the rows, and write the dataset.

    Args:
        rows: from a source.
        split: how to split them, unless they have a split.
        settings: how to make the dataset.
        job: how to crop.

    Raises:
        ConfigError: `settings` asks for smaller copies of the images.
        DataError: too few images can be used, or the disk is full.
    """
    refuse_shrink(settings.shrink)
    with detect_and_crop(rows.table, job) as cropped:
        notes = {"cut_boxes.csv": cropped.cut, "kept_whole.csv": cropped.kept_whole}
        pairs = None if rows.pairs is None else cropped.pairs(rows.pairs)
        problems = [*rows.problems, *cropped.problems]
        crops = Rows(cropped.table, problems, pairs, notes, cropped.moved_folders)
        return write_dataset(crops, split, settings)
