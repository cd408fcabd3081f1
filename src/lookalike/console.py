"""Our own messages on stderr, through the console that progress bars draw on, too."""

import logging
from typing import Any


def show_messages(level: int) -> None:
    """Print what `lookalike` logs from `level` on."""
    import rich

    log = logging.getLogger("lookalike")
    rich.reconfigure(stderr=True)
    log.handlers = [handler for handler in log.handlers if not isinstance(handler, Lines)]
    log.addHandler(Lines())
    log.setLevel(level)


class Lines(logging.Handler):
    """Whole lines, never wrapped, so that a path can be copied; above bars that are being drawn."""

    def emit(self, record: logging.LogRecord) -> Any:
        """Print one message."""
        from rich import get_console

        mark = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        get_console().print(
            f"{mark}{self.format(record)}", soft_wrap=True, markup=False, highlight=False, emoji=False
        )
