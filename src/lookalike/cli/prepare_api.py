"""`lookalike.prepare(…)`: the job `prepare` from Python, with names or objects."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import polars as pl

    from lookalike.data.table import Table
    from lookalike.detect.cropping import Cropping

    Source = str | Path | Table | pl.DataFrame | Mapping[str, Any]

Names = Literal["refuse", "merge", "keep"]
TABLE_ENDINGS = (".csv", ".tsv", ".parquet", ".feather", ".arrow")


def prepare(
    source: "Source",
    out: str | Path,
    *,
    split: "str | Callable[[Table], Table]" = "classes",
    val: float = 0.1,
    test: float = 0.2,
    seed: int = 0,
    detect: "str | Cropping | None" = None,
    columns: Mapping[str, str | list[str] | None] | None = None,
    box: Literal["xyxy", "xywh", "cxcywh"] | None = None,
    relative: bool | Literal[100, 1000] | None = None,
    root: str | Path | None = None,
    level: int | None = None,
    pattern: str | None = None,
    names: Names | None = None,
    options: Mapping[str, Any] | None = None,
    raw: str | Path | None = None,
    download: bool = False,
    check: bool = True,
    hashes: bool = False,
    shrink: int | None = None,
    max_skipped: float = 0.5,
    workers: int | None = 0,
    progress: bool = False,
) -> "Table":
    """Make a dataset as `lookalike prepare` does, and return its table.

    Args:
        source: a folder of class folders; a table file (.csv, .tsv, .parquet, .feather); a table or frame in
            memory (polars, pandas, or a dict of columns); or the name of a source, such as `cub`, `coco` or
            `yolo`.
        out: dataset folder to write; it must not exist.
        split: name of a split (`classes`, `images`, `kfold`, …), or a function from table to table. Ignored
            if the source has a split.
        val: share of the identities for validation.
        test: share of the identities for testing.
        seed: of the split.
        detect: what to crop to (`face`, `cat`, `box`, …), or an object of `lookalike.detect.cropping`; None
            for whole images.
        columns: of a table: any of path, label, split, role, group, fold and box, each with the name of its
            column, or None to read none.
        box: of a table: what the numbers of boxes are.
        relative: of a table: False for boxes in pixels, True for fractions, 100 for percent, 1000 for
            thousandths of the image.
        root: of a table: folder in which relative paths start.
        level: of a folder: which folder level is the class.
        pattern: of a folder: how file names give identities: `reid`, `msmt17`, `numbered` or an expression.
        names: labels that differ only in case or spaces: refuse, merge or keep.
        options: further keys of a named source, such as `{"file": "instances.json"}` for `coco`.
        raw: folder with the archives of a public dataset.
        download: fetch archives of a public dataset that are missing in `raw`.
        check: decode every image completely; False reads only headers, which is much faster.
        hashes: add a column `hash` with the 64-bit perceptual hash of every image, as 16 hexadecimal digits.
        shrink: store images with this shorter side, in pixels; None leaves them where they are.
        max_skipped: maximum share of unusable images.
        workers: number of processes that check or crop images; 0 for this process, None for one per core (a
            script then needs `if __name__ == "__main__":`).
        progress: show a progress bar.

    Raises:
        ConfigError: an argument is wrong.
        DataError: the data cannot be used; lists every problem.
        LookalikeError: `out` exists.
    """
    from lookalike.cli import prepare as job
    from lookalike.config import load
    from lookalike.data.table import read_table

    kind, keys = _source_keys(source)
    source_values = {
        "columns": columns and dict(columns),
        "box": box,
        "relative": relative,
        "root": root and str(root),
        "level": level,
        "pattern": pattern,
        "names": names,
    }
    keys |= {name: value for name, value in source_values.items() if value is not None} | dict(options or {})
    config = load(
        "prepare",
        job.Config,
        source=kind,
        out=str(out),
        split=split if isinstance(split, str) else "classes",
        detect=detect if isinstance(detect, str) else "none",
        **{f"source.{name}": value for name, value in keys.items()},
        val=val,
        test=test,
        seed=seed,
        raw=raw and str(raw),
        download=download,
        check=check,
        hashes=hashes,
        shrink=shrink,
        max_skipped=max_skipped,
        workers=workers,
        progress=progress,
    )
    folder = job.run(
        config,
        source=None if isinstance(source, str | Path) else source,
        split=None if isinstance(split, str) else split,
        detect=None if isinstance(detect, str) else detect,
    )
    return read_table(folder)


def _source_keys(source: "Source") -> tuple[str, dict[str, Any]]:
    """The kind of a source, and the keys that name it."""
    if not isinstance(source, str | Path):
        return "table", {"file": "table"}
    path = Path(source).expanduser()
    if path.is_dir():
        return "folder", {"root": str(path)}
    if path.suffix.lower() in TABLE_ENDINGS:
        return "table", {"file": str(path)}
    if path.parts[1:] or path.is_absolute():
        return "folder", {"root": str(path)}
    return str(source), {}
