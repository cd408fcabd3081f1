"""The history as a spreadsheet: history.xlsx, with a chart of losses and one of scores."""

import math
from collections.abc import Sequence
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lookalike.files import replace_file
from lookalike.training.history import Row

if TYPE_CHECKING:
    from xlsxwriter import Workbook
    from xlsxwriter.format import Format
    from xlsxwriter.worksheet import Worksheet

COLOURS = ("#1c1e22", "#0b6592", "#ad4a06", "#4d7a1f", "#7d4a9e", "#8a6a00", "#a8326e")
MUTED, RULE = "#5a606b", "#d8d6d0"
STYLES = {
    "head": {"bold": True, "bottom": 1, "text_wrap": True, "valign": "vcenter", "align": "left"},
    "text": {"text_wrap": True, "valign": "top", "align": "left"},
    "date": {"num_format": "yyyy-mm-dd hh:mm:ss", "valign": "top", "align": "left"},
    "whole": {"num_format": "#,##0", "valign": "top"},
    "short": {"num_format": "#,##0.0", "valign": "top"},
    "percent": {"num_format": "0.0 %", "valign": "top"},
    "rate": {"num_format": "0.0E+00", "valign": "top"},
    "number": {"num_format": "0.0000", "valign": "top"},
}
WHOLE = {"epoch", "stage", "rows", "validation_rows"}
SHORT = {"minutes", "images_per_second"}
GRID = {"visible": True, "line": {"color": RULE, "width": 0.5}}
WIDEST = 90


def write_workbook(rows: Sequence[Row], file: Path) -> None:
    """Write the rows of a history as an Excel file.

    A cell of text is text, also where it begins as a formula or an address does; a number that is none is
    written as nan or inf. Spreadsheets know no time zones: dates are those of the place where training ran.

    Args:
        rows: an epoch each; a column that a row lacks is empty there.
        file: what to write; whole, or not at all.
    """
    content = _workbook(rows)
    replace_file(file, lambda temporary: temporary.write_bytes(content))


def _workbook(rows: Sequence[Row]) -> bytes:
    """The content of the file, made in memory: on a full disk, a zip file fails again as it is closed."""
    import xlsxwriter

    content = BytesIO()
    with xlsxwriter.Workbook(content, {"in_memory": True}) as book:
        styles = {name: book.add_format(style) for name, style in STYLES.items()}
        sheet = book.add_worksheet("history")
        columns = list(dict.fromkeys(name for row in rows for name in row))
        for index, name in enumerate(columns):
            values = [row.get(name) for row in rows]
            kind = kind_of(name, values)
            sheet.set_column(index, index, _width(name, values, kind))
            sheet.write_string(0, index, name, styles["head"])
            for line, value in enumerate(values, 1):
                _write_cell(sheet, (line, index), value, kind, styles[kind])
        sheet.freeze_panes(1, 1)
        sheet.set_row(0, 32)
        if rows:
            sheet.autofilter(0, 0, len(rows), len(columns) - 1)
            _add_charts(book, columns, len(rows))
    return content.getvalue()


def kind_of(name: str, values: Sequence[Any]) -> str:
    """How the values of a column are shown: a key of STYLES."""
    numbers = [value for value in values if isinstance(value, int | float)]
    if name == "date":
        return "date"
    if not numbers:
        return "text"
    if name in WHOLE or name in SHORT:
        return "whole" if name in WHOLE else "short"
    if name.startswith("lr_"):
        return "rate"
    share = name.endswith("_share") or (name.startswith("val_") and "loss" not in name)
    return "percent" if share and all(abs(value) <= 1 for value in numbers) else "number"


def _write_cell(sheet: "Worksheet", cell: tuple[int, int], value: Any, kind: str, style: "Format") -> None:
    if value is None or value == "":
        sheet.write_blank(*cell, None, style)
    elif isinstance(value, int | float) and math.isfinite(value):
        sheet.write_number(*cell, value, style)
    elif kind == "date":
        sheet.write_datetime(*cell, datetime.fromisoformat(value).replace(tzinfo=None), style)
    else:
        sheet.write_string(*cell, str(value), style)


def _width(name: str, values: Sequence[Any], kind: str) -> float:
    """Characters: enough for the values, and for the longest word of the name."""
    if kind == "text":
        return min(WIDEST, max(len(name) + 3, *(len(str(value or "")) for value in values)))
    return {"date": 19.0, "whole": 9.0}.get(kind, max(11.0, 0.75 * len(name) + 3))


def _add_charts(book: "Workbook", columns: list[str], count: int) -> None:
    """Losses, and scores on the validation identities, on a sheet of their own."""
    losses = [name for name in columns if name.startswith(("loss", "val_")) and "loss" in name]
    scores = [name for name in columns if name.startswith("val_") and name not in losses]
    charts = [pair for pair in (("Loss", losses), ("On validation identities", scores)) if pair[1]]
    if not charts or "epoch" not in columns:
        return
    sheet = book.add_worksheet("charts")
    sheet.hide_gridlines(2)
    for number, (title, names) in enumerate(charts):
        chart: Any = book.add_chart({"type": "scatter", "subtype": "straight_with_markers"})
        for index, name in enumerate(names):
            chart.add_series(_series_options(columns, name, count, COLOURS[index % len(COLOURS)]))
        chart.set_title({"name": title, "name_font": {"size": 13, "color": COLOURS[0]}})
        chart.set_x_axis(_columns_across(count))
        chart.set_y_axis({"num_font": {"color": MUTED}, "line": {"none": True}, "major_gridlines": GRID})
        chart.set_legend({"position": "bottom"})
        chart.set_size({"width": 860, "height": 380})
        sheet.insert_chart(1 + 20 * number, 1, chart)


def _columns_across(count: int) -> dict[str, Any]:
    """An axis of whole epochs."""
    return {
        "name": "epoch",
        "name_font": {"bold": False, "color": MUTED},
        "num_font": {"color": MUTED},
        "num_format": "0",
        "min": 0 if count == 1 else 1,
        "max": max(2, count),
        "major_unit": max(1, math.ceil(count / 12)),
        "line": {"color": RULE},
        "major_gridlines": {"visible": False},
    }


def _series_options(columns: list[str], name: str, count: int, colour: str) -> dict[str, Any]:
    """A line over the epochs, taken from the cells of the first sheet."""
    across, up = columns.index("epoch"), columns.index(name)
    return {
        "name": ["history", 0, up],
        "categories": ["history", 1, across, count, across],
        "values": ["history", 1, up, count, up],
        "line": {"color": colour, "width": 1.75},
        "marker": {"type": "circle", "size": 4, "fill": {"color": colour}, "border": {"color": colour}},
    }
