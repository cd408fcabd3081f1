"""TensorBoard: event files in the run folder."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lookalike.trackers.group import Status, check_every, plain_value, require_package


class TensorBoard:
    """Writes event files; `tensorboard --logdir runs` shows all runs below a folder.

    Args:
        folder: where to write; none for `tensorboard/` in the run folder.
        every: logging interval of the training loss, in steps.
    """

    def __init__(self, folder: Path | None = None, every: int = 20):
        check_every("tensorboard", every)
        require_package("tensorboard", "tensorboard")
        self.folder, self.every = folder, every

    def start(self, folder: Path, config: dict[str, Any], step: int, run_id: str | None) -> None:
        """Start a file; it replaces entries of earlier files after this step."""
        from torch.utils.tensorboard import SummaryWriter

        log_folder = self.folder or folder / "tensorboard"
        self.writer, self.last = SummaryWriter(str(log_folder), purge_step=step + 1 if step else None), step
        words = json.dumps(config, indent=2, ensure_ascii=False)
        self.log_text("config", "".join(f"    {line}\n" for line in words.splitlines()), step)

    def log_numbers(self, values: Mapping[str, float], step: int) -> None:
        """See `Tracker.log_numbers`."""
        self.last = step
        for name, value in values.items():
            self.writer.add_scalar(plain_value(name), value, step)

    def log_text(self, name: str, text: str, step: int) -> None:
        """See `Tracker.log_text`."""
        self.writer.add_text(plain_value(name), text, step)

    def log_image(self, name: str, file: Path, step: int) -> None:
        """See `Tracker.log_image`."""
        with Image.open(file) as picture:
            self.writer.add_image(
                plain_value(name), np.asarray(picture.convert("RGB")), step, dataformats="HWC"
            )

    def finish(self, status: Status) -> None:
        """See `Tracker.finish`."""
        self.log_text("status", status, self.last)
        self.writer.close()
