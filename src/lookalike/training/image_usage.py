"""How often each training image was used."""

from pathlib import Path

import polars as pl
import torch
from accelerate import Accelerator
from torch import Tensor

from lookalike.data.table import Table
from lookalike.files import replace_file
from lookalike.training.history import Row

USES = "image_uses.csv"


class ImageUsage:
    """Counts of how often the model learned from each image, over the whole run.

    Args:
        images: how many training images there are.
    """

    def __init__(self, images: int):
        self.counts = torch.zeros(images, dtype=torch.int64)

    def add(self, rows: Tensor) -> None:
        """Count the rows of a batch of this process, [B]."""
        self.counts.index_add_(0, rows, torch.ones_like(rows))

    def total(self, accelerator: Accelerator) -> Tensor:
        """Counts of all processes together, [N]; every process must ask."""
        if accelerator.num_processes == 1:
            return self.counts
        return accelerator.reduce(self.counts.to(accelerator.device), "sum").cpu()

    def load_total(self, total: Tensor, accelerator: Accelerator) -> None:
        """Take over the counts of a checkpoint, in one process, so that they are counted once."""
        self.counts = total.clone() if accelerator.is_main_process else torch.zeros_like(total)


def usage_statistics(counts: Tensor) -> Row:
    """How many images were used; mean and (population) standard deviation of the uses of all. As columns."""
    uses = counts.double()
    return {
        "images_used": int((counts > 0).sum()),
        "uses_mean": float(uses.mean()),
        "uses_std": float(uses.std(correction=0)),
    }


def write_uses(folder: Path, table: Table, counts: Tensor) -> None:
    """image_uses.csv: each training image's row, path and uses."""
    frame = pl.DataFrame({"row": range(len(table)), "path": table.frame["path"], "uses": counts.numpy()})
    replace_file(folder / USES, frame.write_csv)
