"""Console output: messages on stderr, above progress bars, and tables on stdout."""

import csv
import io
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from lookalike.errors import CONTROL

Rows = Sequence[Sequence[object]]
LIMITLESS = 1_000_000
"""Terminal width assumed to fit every table."""


@contextmanager
def show_messages(level: int) -> Iterator[None]:
    """Print log messages of `lookalike` from `level` on; afterwards its logger is restored."""
    import rich

    log = logging.getLogger("lookalike")
    rich.reconfigure(stderr=True)
    handlers, old_level = log.handlers[:], log.level
    log.handlers = [*(handler for handler in handlers if not isinstance(handler, Lines)), Lines()]
    log.setLevel(level)
    try:
        yield
    finally:
        log.handlers = handlers
        log.setLevel(old_level)


class Lines(logging.Handler):
    """Whole lines, never wrapped, so that a path can be copied; above bars that are being drawn."""

    def emit(self, record: logging.LogRecord) -> Any:
        """Print one message."""
        from rich import get_console

        mark = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        get_console().print(
            f"{mark}{self.format(record)}", soft_wrap=True, markup=False, highlight=False, emoji=False
        )


def print_table(columns: Sequence[str], rows: Rows, title: str = "") -> None:
    """Print a table on stdout; values are never wrapped or truncated, so that paths can be copied.

    In a terminal it is drawn with lines; if the terminal is too narrow, each row becomes a block of `column:
    value` lines. To a file or pipe, tab-separated lines are written, the first with the column names.
    """
    cells = [[_cell(value) for value in row] for row in rows]
    if not in_terminal():
        _print_lines(["\t".join(map(_cell, columns)), *("\t".join(row) for row in cells)])
    elif not _draw(columns, cells, title):
        _print_lines([*([_cell(title)] if title else []), *_blocks(columns, cells)])


def to_csv(columns: Sequence[str], rows: Rows) -> str:
    """A table as CSV with a header; None is an empty cell."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([columns, *rows])
    return text.getvalue()


def print_tables(group: str, columns: Sequence[str], tables: Mapping[str, Rows]) -> None:
    """Print several tables with the same columns; to a file or pipe as one, titles in the column `group`."""
    if in_terminal():
        for title, rows in tables.items():
            print_table(columns, rows, title)
    else:
        print_table([group, *columns], [[title, *row] for title, rows in tables.items() for row in rows])


def in_terminal() -> bool:
    """Whether stdout is a terminal."""
    return sys.stdout.isatty()


def _cell(value: object) -> str:
    """A value on one line, with control characters escaped."""
    return CONTROL.sub(lambda result: repr(result[0])[1:-1], str(value))


def _print_lines(lines: Sequence[str]) -> None:
    if lines:
        print("\n".join(lines), flush=True)


def _draw(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str) -> bool:
    """Draw a table with lines, if the terminal is wide enough."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(emoji=False, highlight=False)
    table = Table()
    for column in columns:
        table.add_column(Text(column), no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row))
    fits = console.measure(table, options=console.options.update(width=LIMITLESS)).maximum <= console.width
    if fits:
        _print_lines([_cell(title)] if title else [])
        console.print(table)
    return fits


def _blocks(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines `column: value` for each row, an empty line between two rows; empty values are left out."""
    lines: list[str] = []
    for index, row in enumerate(rows):
        lines += [""] * bool(index)
        lines += [
            f"{name}: {value}" if name else value for name, value in zip(columns, row, strict=True) if value
        ]
    return lines
