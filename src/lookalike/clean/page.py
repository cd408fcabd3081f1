"""The review page: findings side by side, to accept, reject or skip; works from the disk."""

import base64
import hashlib
import json
from importlib import resources
from pathlib import Path
from typing import Any

import polars as pl
from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from lookalike.clean.findings import KINDS
from lookalike.data.bidi import show_bidi_controls
from lookalike.data.table import Table
from lookalike.data.thumbnails import Thumbnails
from lookalike.prepare.patch.changes import VERSION
from lookalike.prepare.patch.paths import short_paths
from lookalike.version import __version__
from lookalike.wording import count_noun

SIDE = 320
"""Pixels of the longer side of a picture."""
SHOWN = 12
"""Images of a group that are shown."""
MOST_PICTURES = 20_000
FOLDER = "pictures"


def write_page(table: Table, findings: pl.DataFrame, folder: Path, title: str) -> None:
    """Write review.html, and the pictures that it shows into a folder beside it."""
    write_items(table, group_items(findings), folder, title, count_noun(len(findings), "finding"))


def write_items(table: Table, items: list[dict[str, Any]], folder: Path, title: str, sentence: str) -> None:
    """Write review.html for items as `group_items` makes them; they are changed.

    Args:
        table: that rows of the items are of.
        items: what is decided at once; the script of the page knows their kinds.
        folder: exists.
        title: of the page.
        sentence: what it shows.
    """
    rows = sorted({row for item in items for row in item["rows"]})
    position = {row: number for number, row in enumerate(rows)}
    images = _describe_images(table, rows)
    shown = list(dict.fromkeys(row for item in items for row in item["rows"][:SHOWN]))[:MOST_PICTURES]
    _write_pictures(table, shown, folder / FOLDER)
    for row in shown:
        images[position[row]]["picture"] = f"{FOLDER}/{row}.webp"
    for item in items:
        item["rows"] = [position[row] for row in item["rows"]]
        item["pairs"] = [[None if row is None else position[row] for row in pair] for pair in item["pairs"]]
    payload = {
        "version": VERSION,
        "root": short_paths(table)[2],
        "count": len(table),
        "images": images,
        "items": items,
    }
    payload["id"] = hashlib.sha256(json.dumps(payload, sort_keys=True).encode()).hexdigest()[:16]
    (folder / "review.html").write_text(_render(title, payload, sentence), encoding="utf-8")


def group_items(findings: pl.DataFrame) -> list[dict[str, Any]]:
    """What is decided at once: findings of one group, the most certain first within each kind."""
    items: dict[tuple[str, int], dict[str, Any]] = {}
    for row in findings.iter_rows(named=True):
        item = items.setdefault(
            (row["kind"], row["group"]),
            {
                "kind": row["kind"],
                "score": row["score"],
                "rows": [],
                "pairs": [],
                "evidence": [],
                "changes": [],
            },
        )
        pair = [row["row_a"], row["row_b"]]
        item["pairs"].append(pair)
        item["evidence"].append(row["evidence"])
        item["changes"].append(_change(row))
        item["rows"] += [one for one in pair if one is not None and one not in item["rows"]]
    return sorted(items.values(), key=lambda item: (KINDS.index(item["kind"]), -item["score"]))


def _change(row: dict[str, Any]) -> list[Any]:
    """What accepting a finding does: `["drop", "a" or "b"]`, `["relabel", label]`, `["split", new label]`,
    `["merge", from, to]`, or nothing.
    """
    change = row["change"]
    if change == "none" and row["kind"] in ("near_duplicate", "burst"):
        return ["drop", "b"] if row["split_a"] == row["split_b"] else []
    if change == "none" and row["kind"] == "quality":
        return ["drop", "a"]
    if change == "none" and row["kind"] == "duplicate_identity":
        change = "merge"
    if change in ("drop_a", "drop_b"):
        return ["drop", change[-1]]
    if change in ("relabel", "split"):
        return [change, row["label_b"]]
    return ["merge", row["label_b"], row["label_a"]] if change == "merge" else []


def _describe_images(table: Table, rows: list[int]) -> list[dict[str, Any]]:
    paths = short_paths(table)[0]
    frame = table.frame
    labels = frame["label"].cast(pl.String).to_list()
    splits = frame["split"].to_list() if "split" in frame.columns else [None] * len(frame)
    images = []
    for row in rows:
        image = {"path": paths[row], "label": labels[row], "split": splits[row]}
        if "x1" in frame.columns and frame["x1"][row] is not None:
            image["box"] = [float(frame[name][row]) for name in ("x1", "y1", "x2", "y2")]
        images.append(image)
    return images


def _write_pictures(table: Table, rows: list[int], folder: Path) -> None:
    folder.mkdir()
    pictures = Thumbnails(table, SIDE)
    for start in range(0, len(rows), 64):
        part = rows[start : start + 64]
        for row, picture in zip(part, pictures.load(part), strict=True):
            picture.save(folder / f"{row}.webp", "WEBP", quality=80)
        pictures = Thumbnails(table, SIDE)


def _render(title: str, payload: dict[str, Any], sentence: str) -> str:
    """The page; data reaches it as JSON in base64, and the script puts it into text nodes."""
    package_files = resources.files("lookalike.clean")
    read = lambda name: package_files.joinpath(name).read_text(encoding="utf-8")  # noqa: E731
    script = '(() => {\n"use strict";\n' + read("review.js") + "\n})();"
    environment = Environment(
        loader=FunctionLoader(read),
        autoescape=True,
        finalize=lambda value: show_bidi_controls(value) if type(value) is str else value,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("review.html.j2").render(
        title=title,
        sentence=sentence,
        payload=base64.b64encode(json.dumps(payload).encode()).decode(),
        style=Markup(read("review.css")),
        script=Markup(script),
        script_hash=f"sha256-{digest}",
        version=__version__,
    )
