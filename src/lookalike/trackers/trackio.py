"""Trackio: its folder on this machine, or a Hugging Face Space."""

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

from lookalike.trackers.group import Status, check_every, require_package


class Trackio:
    """Writes a database in Trackio's own folder (TRACKIO_DIR); `trackio show` opens it.

    Args:
        project: of the run.
        space: a Hugging Face Space to send to; none sends nothing.
        every: logging interval of the training loss, in steps.
    """

    def __init__(self, project: str = "lookalike", space: str | None = None, every: int = 20):
        check_every("trackio", every)
        require_package("trackio", "trackio")
        self.project, self.space, self.every, self.last = project, space, every, 0

    def start(self, folder: Path, config: dict[str, Any], step: int, run_id: str | None) -> str:
        """Start a run or resume `run_id`; returns its name."""
        import trackio

        with _quiet(offline=self.space is None):
            self.run = trackio.init(
                project=self.project,
                name=run_id or f"{folder.name} {uuid.uuid4().hex[:6]}",
                space_id=self.space,
                config=config,
                resume="allow",
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )
        return self.run.name

    def log_numbers(self, values: Mapping[str, float], step: int) -> None:
        """See `Tracker.log_numbers`."""
        self.last = step
        self.run.log(dict(values), step=step)

    def log_text(self, name: str, text: str, step: int) -> None:
        """See `Tracker.log_text`."""
        import trackio

        self.run.log({name: trackio.Markdown(text)}, step=step)

    def log_image(self, name: str, file: Path, step: int) -> None:
        """See `Tracker.log_image`."""
        import trackio

        self.run.log({name: trackio.Image(str(file))}, step=step)

    def finish(self, status: Status) -> None:
        """See `Tracker.finish`."""
        import trackio

        self.log_text("status", status, self.last)
        with _quiet(offline=self.space is None):
            trackio.finish()


@contextmanager
def _quiet(offline: bool) -> Iterator[None]:
    """Keep Trackio from printing and, if `offline`, from asking the Hub for the user name."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or offline
    try:
        with redirect_stdout(StringIO()):
            yield
    finally:
        constants.HF_HUB_OFFLINE = before
