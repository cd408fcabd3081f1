"""The page of the explorer: arrays, columns, style and script in one HTML file."""

import base64
import gzip
import hashlib
import json
from collections.abc import Sequence
from importlib import resources
from typing import Any

import numpy as np
from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from lookalike.data.bidi import show_bidi_controls
from lookalike.explore.columns import Column
from lookalike.plots.shortening import shared_start
from lookalike.version import __version__

SCRIPTS = ("data.js", "colours.js", "map.js", "tools.js", "panel.js", "changes.js", "start.js")
KINDS = {"float32": "f4", "float64": "f8", "uint32": "u4", "uint16": "u2", "int16": "i2", "uint8": "u1"}
ALIGNED = 8
LEGEND = 28
"""Maximum length of a class name in the legend."""


def pack(head: dict[str, Any], arrays: dict[str, np.ndarray]) -> str:
    """Facts and arrays as base64 of gzip: the length of the JSON as uint32, the JSON, then the arrays.

    The JSON's `arrays` says type, place (counted from the first multiple of 8 after the JSON) and length.
    """
    parts, listed, offset = [], {}, 0
    for name, array in arrays.items():
        raw = np.ascontiguousarray(array).tobytes()
        listed[name] = [KINDS[array.dtype.name], offset, array.size]
        parts.append(raw + bytes(-len(raw) % ALIGNED))
        offset += len(parts[-1])
    text = json.dumps({**head, "arrays": listed}, allow_nan=False).encode()
    start = len(text).to_bytes(4, "little") + text
    blob = start + bytes(-len(start) % ALIGNED) + b"".join(parts)
    return base64.b64encode(gzip.compress(blob, 6, mtime=0)).decode()


def describe_columns(columns: Sequence[Column]) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    """Columns for the facts, and their codes for the arrays."""
    listed = [
        {
            "place": index,
            "name": column.name,
            "kind": column.kind,
            "values": column.values,
            "start": _hidden_start(column),
        }
        for index, column in enumerate(columns)
    ]
    arrays = {
        f"column-{index}": column.codes.astype(np.float64 if column.kind == "number" else np.uint32)
        for index, column in enumerate(columns)
        if column.codes is not None
    }
    return listed, arrays


def _hidden_start(column: Column) -> int:
    """How many UTF-16 units the legend leaves out of each class: what all begin with, if some are long."""
    if column.kind != "category" or max(map(len, column.values), default=0) <= LEGEND:
        return 0
    start = shared_start(column.values)
    return len(column.values[0][:start].encode("utf-16-le")) // 2


def neighbour_arrays(rows: np.ndarray, scores: np.ndarray) -> dict[str, np.ndarray]:
    """Neighbours, 2^32 − 1 for none, and their similarities in steps of 1 / 32767."""
    return {
        "neighbours": np.where(rows < 0, 2**32 - 1, rows).astype(np.uint32).ravel(),
        "similarity": np.round(scores * 32767).astype(np.int16).ravel(),
    }


def render(title: str, sentence: str, payload: str, sheets: Sequence[bytes]) -> str:
    """The page as text; its sheets of pictures are in it, or beside it where there are none here.

    Everything is escaped but our own style and script. What the data says reaches the page as base64; the
    script puts it into text nodes.
    """
    package_files = resources.files("lookalike.explore")
    read = lambda name: package_files.joinpath(name).read_text(encoding="utf-8")  # noqa: E731
    script = '(() => {\n"use strict";\n' + "\n".join(map(read, SCRIPTS)) + "\n})();"
    environment = Environment(
        loader=FunctionLoader(read),
        autoescape=True,
        finalize=lambda value: show_bidi_controls(value) if type(value) is str else value,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("page.html.j2").render(
        title=title,
        sentence=sentence,
        payload=payload,
        sheets=[base64.b64encode(sheet).decode() for sheet in sheets],
        style=Markup(read("page.css")),
        script=Markup(script),
        script_hash=f"sha256-{digest}",
        version=__version__,
    )
