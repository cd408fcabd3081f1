"""Weights & Biases: a folder, or the online service."""

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from lookalike.trackers.group import Status, check_every, require_package

log = logging.getLogger(__name__)


class WandB:
    """Writes `wandb/` in the run folder; only `mode=online` sends anything.

    Code, git state and console output are not recorded, and error reports are not sent.

    Args:
        project: of the run.
        entity: user or team; none for the default of the account.
        mode: offline (files, for `wandb sync` later) or online.
        every: logging interval of the training loss, in steps.
    """

    def __init__(
        self,
        project: str = "lookalike",
        entity: str | None = None,
        mode: Literal["offline", "online"] = "offline",
        every: int = 20,
    ):
        check_every("wandb", every)
        if mode not in ("offline", "online"):
            raise ValueError(f"tracker wandb mode {mode!r}: must be offline or online")
        require_package("wandb", "wandb")
        self.project, self.entity, self.every = project, entity, every
        self.mode: Literal["offline", "online"] = mode

    def start(self, folder: Path, config: dict[str, Any], step: int, run_id: str | None) -> str:
        """Start a run or resume `run_id`; returns its id."""
        os.environ["WANDB_ERROR_REPORTING"] = "false"
        import wandb

        self.run = wandb.init(
            project=self.project,
            entity=self.entity,
            name=folder.name,
            id=run_id,
            resume="allow" if self.mode == "online" else None,
            dir=str(folder),
            config=config,
            mode=self.mode,
            settings=wandb.Settings(silent=True, console="off", save_code=False, disable_git=True),
        )
        if self.mode == "offline":
            log.info("wandb: offline; send the run with: wandb sync %s/wandb/offline-run-*", folder)
        return self.run.id

    def log_numbers(self, values: Mapping[str, float], step: int) -> None:
        """See `Tracker.log_numbers`."""
        self.run.log(dict(values), step=step)

    def log_text(self, name: str, text: str, step: int) -> None:
        """See `Tracker.log_text`."""
        self.run.log({name: text}, step=step)

    def log_image(self, name: str, file: Path, step: int) -> None:
        """See `Tracker.log_image`."""
        import wandb

        self.run.log({name: wandb.Image(str(file))}, step=step)

    def finish(self, status: Status) -> None:
        """See `Tracker.finish`."""
        self.run.summary["status"] = status
        self.run.finish(exit_code=int(status == "failed"))
