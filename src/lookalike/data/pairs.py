"""Lists of pairs to judge as same or different: LFW's pairs.txt, and CSV files of path, path, same."""

import csv
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from lookalike.errors import DataError, Problem

YES = {"1", "true", "yes", "same", "1.0"}
NO = {"0", "false", "no", "different", "0.0", "-1"}


@dataclass(frozen=True)
class Pair:
    """One line of a list: two images as the list names them, and whether they show the same."""

    first: str
    second: str
    same: bool
    fold: int
    line: int


def read_pairs(file: str | Path, folds: int = 10) -> list[Pair]:
    """The pairs of a list.

    A `.csv` holds path, path, same (1 or 0, true or false, same or different), and perhaps a fold, with or
    without a header. Anything else is read as LFW's pairs.txt: `name i j` for a same pair, `name i other j`
    for a different one, after a line with the number of folds and of pairs of each kind in a fold.

    Args:
        file: the list.
        folds: into how many folds of consecutive pairs a list is cut that names none.

    Raises:
        DataError: there is no such file, or lines of it are not understood; lists them.
    """
    file = Path(file)
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: is not UTF-8 text") from error
    problems: list[Problem] = []
    found = (_csv if file.suffix.lower() == ".csv" else _lfw)(lines, file.name, problems)
    if problems:
        raise DataError(f"{file}: {len(problems)} lines are not understood, counted from 1:", problems)
    if not found:
        raise DataError(f"{file}: holds no pair")
    if any(pair.fold < 0 for pair in found):
        cut = (np.arange(len(found)) * max(folds, 1) // len(found)).tolist()
        found = [Pair(p.first, p.second, p.same, fold, p.line) for p, fold in zip(found, cut, strict=True)]
    return found


def match_paths(names: Sequence[str], paths: Sequence[str]) -> np.ndarray:
    """The row of each name among paths, int64; -1 where there is none, -2 where it could be several.

    A name is the path itself, or the path whose end it shares, in whole folder and file names, farthest; the
    ending of a name may be left out.
    """
    exact = {path: row for row, path in enumerate(paths)}
    by_name: dict[str, list[int]] = defaultdict(list)
    for row, path in enumerate(paths):
        by_name[PurePosixPath(path).name].append(row)
        by_name[PurePosixPath(path).stem].append(row)
    return np.array([exact.get(name, _nearest(name, paths, by_name)) for name in names], np.int64)


def _nearest(name: str, paths: Sequence[str], by_name: dict[str, list[int]]) -> int:
    parts = PurePosixPath(name.replace("\\", "/")).parts[::-1]
    candidates = dict.fromkeys(by_name.get(parts[0] if parts else "", ()))
    if not candidates:
        return -1
    shared = [_shared(parts[1:], PurePosixPath(paths[row]).parts[-2::-1]) for row in candidates]
    best = max(shared)
    rows = [row for row, count in zip(candidates, shared, strict=True) if count == best]
    return rows[0] if len(rows) == 1 else -2


def _shared(one: Sequence[str], other: Sequence[str]) -> int:
    count = 0
    for mine, theirs in zip(one, other, strict=False):
        if mine != theirs:
            break
        count += 1
    return count


def _csv(lines: list[str], name: str, problems: list[Problem]) -> list[Pair]:
    found = []
    for line, cells in enumerate(csv.reader(lines), 1):
        cells = [cell.strip() for cell in cells]
        if not any(cells):
            continue
        same = cells[2].lower() if len(cells) > 2 else ""
        heading = line == 1 and not any(sign in cell for cell in cells[:2] for sign in "./0123456789")
        if same not in YES | NO or (heading and same == "same"):
            if not heading:
                problems.append(
                    Problem(name, f"{','.join(cells)[:80]!r}: must be path,path,1 or path,path,0", line)
                )
            continue
        fold = int(cells[3]) if len(cells) > 3 and cells[3].isdigit() else -1
        found.append(Pair(cells[0], cells[1], same in YES, fold, line))
    return found


def _lfw(lines: list[str], name: str, problems: list[Problem]) -> list[Pair]:
    rows = [(line, text.split("\t") if "\t" in text else text.split()) for line, text in enumerate(lines, 1)]
    rows = [(line, [cell.strip() for cell in cells]) for line, cells in rows if any(cells)]
    each = 0
    if rows and len(rows[0][1]) <= 2 and all(cell.isdigit() for cell in rows[0][1]):
        head = [int(cell) for cell in rows.pop(0)[1]]
        each = 2 * head[1] if len(head) == 2 else 0
    found = []
    for line, cells in rows:
        numbers = [cells[place] for place in ((1, 2) if len(cells) == 3 else (1, 3)) if place < len(cells)]
        if len(cells) not in (3, 4) or not all(number.isdigit() for number in numbers):
            problems.append(
                Problem(name, f"{' '.join(cells)[:80]!r}: must be name i j, or name i other j", line)
            )
            continue
        other = cells[0] if len(cells) == 3 else cells[2]
        first, second = (
            f"{who}/{who}_{int(i):04d}" for who, i in zip((cells[0], other), numbers, strict=True)
        )
        found.append(Pair(first, second, len(cells) == 3, len(found) // each if each else -1, line))
    return found
