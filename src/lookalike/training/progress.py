"""What the user sees while a model trains."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich import get_console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lookalike.training.history import Row


@contextmanager
def bars(shown: bool, total: int, done: int = 0) -> Iterator[Callable[[str], None]]:
    """A bar over all steps with the time remaining; yields a function that advances it, with a note."""
    columns = (
        TextColumn("training"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    progress = Progress(*columns, console=get_console(), disable=not shown)
    with progress:
        task = progress.add_task("training", total=total, completed=done, note="")
        yield lambda note: progress.update(task, advance=1, note=note)


def in_words(row: Row, epochs: int, best: bool) -> str:
    """A row of the history as a line to read."""
    scores = [f"{name[4:]} {value:.3f}" for name, value in row.items() if name.startswith("val_")]
    validation = f", validation {', '.join(scores)}{' (best so far)' if best else ''}" if scores else ""
    speed = f", {row['images_per_second']:.0f} images/s"
    return f"epoch {row['epoch']} of {epochs}: loss {row['loss']:.4f}{validation}{speed}"
