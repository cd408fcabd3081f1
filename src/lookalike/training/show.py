"""The first batch, for the user to see whether images and labels are what they should be."""

from pathlib import Path

from lookalike.data.images import Batch
from lookalike.data.table import Table
from lookalike.files import replace_file
from lookalike.plots.first_batch import first_batch

FILE = "first_batch.png"


def show_first_batch(batch: Batch, table: Table, folder: Path) -> Path:
    """Write first_batch.png: this process's images after augmentation, under their labels."""
    labels = table.frame["label"].gather(batch.rows.numpy()).to_list()
    images = batch.images.permute(0, 2, 3, 1).contiguous().numpy()
    picture = first_batch(images, labels, "First training batch, as augmented")
    replace_file(folder / FILE, lambda beside: picture.save(beside, format="PNG"))
    return folder / FILE
