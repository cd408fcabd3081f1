"""Lists of verification pairs: LFW's pairs.txt, and tables of path, path, same."""

import csv
import logging
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from lookalike.data.box_columns import normalise_name, words
from lookalike.data.csv_text import decode, separator_of, split_sep_line
from lookalike.data.reading import READERS, read_frame
from lookalike.errors import DataError, Problem, one_per_row

log = logging.getLogger(__name__)
YES = {"1", "true", "yes", "same", "1.0", "t", "y", "match", "positive", "genuine"}
NO = {
    *("0", "false", "no", "different", "0.0", "-1", "-1.0", "f", "n"),
    *("mismatch", "nonmatch", "negative", "impostor"),
}
STEMS = words("path image img file filename imagepath imgpath imagefile photo picture name id face")
FIRST = {
    *(f"{stem}{end}" for stem in STEMS for end in ("a", "1", "one", "left", "0")),
    *(f"{end}{stem}" for stem in STEMS for end in ("first", "left", "query", "source")),
    *words("a one first left query probe anchor reference enroll enrol source"),
}
SECOND = {
    *(f"{stem}{end}" for stem in STEMS for end in ("b", "2", "two", "right")),
    *(f"{end}{stem}" for stem in STEMS for end in ("second", "right", "gallery", "target")),
    *words("b two second right gallery other candidate test"),
}
SAME = {
    *words(
        "same issame samelabel sameid sameidentity sameperson sameclass issameperson samepair label match"
    ),
    *words("ismatch matches matching target y gt groundtruth truth positive ispositive genuine isgenuine"),
    *words("duplicate isduplicate similar issimilar pairlabel"),
}
DIFFERENT = {
    *words("different isdifferent differs dissimilar isdissimilar negative isnegative impostor mismatch")
}
FOLD = {*words("fold foldid foldnumber cvfold foldindex split set part")}
REPEATED = re.compile(rf"^({'|'.join(STEMS)})(?:\.1|_1|_duplicated_0)$", re.IGNORECASE)
"""The second column of two with the same name, as pandas, polars and R write it."""
FORMS = "path_a, path_b, same (1 or 0) and, if there are folds, fold"
IMAGE = re.compile(r".*(\.(jpe?g|png|webp|bmp|gif|tiff?|ppm|pgm|heic|avif)|[/\\].*)$", re.IGNORECASE)


@dataclass(frozen=True)
class Pair:
    """One line of a list: two images by their names in the list, and whether they show the same identity."""

    first: str
    second: str
    same: bool
    fold: int
    line: int


@dataclass(frozen=True)
class _Columns:
    """Column indices; `inverted` if 1 means different."""

    first: int
    second: int
    same: int
    fold: int | None
    inverted: bool = False


Rows = list[tuple[int, list[str]]]


def read_pairs(file: str | Path, folds: int = 10) -> list[Pair]:
    """The pairs of a list.

    A table (`.csv`, `.tsv`, `.parquet`, `.feather`) contains two paths, whether they show the
    same identity, and optionally a fold: in this order without a header, otherwise in columns with common
    names, which are logged. Other files are read as LFW's pairs.txt, with `name i j` for a positive pair and
    `name i other j` for a negative one, after a line with the numbers of folds and of pairs of each kind per
    fold; or as lines `path path 1`, or `1 path path`.

    Args:
        file: the list.
        folds: number of folds of consecutive pairs for a list without folds.

    Raises:
        DataError: the file is missing, or its header or some lines are invalid; lists them.
    """
    file = Path(file)
    problems: list[Problem] = []
    pairs, cut = _of_table(file, problems) if file.suffix.lower() in READERS else _of_text(file, problems)
    if problems:
        problems = one_per_row(problems)
        raise DataError(f"{file}: {len(problems)} lines are invalid, counted from 1:", problems)
    if not pairs:
        raise DataError(f"{file}: contains no pairs")
    if cut:
        positions = (np.arange(len(pairs)) * max(folds, 1) // len(pairs)).tolist()
        pairs = [
            Pair(p.first, p.second, p.same, fold, p.line) for p, fold in zip(pairs, positions, strict=True)
        ]
    return pairs


def _lines(file: Path) -> str:
    try:
        return decode(file.read_bytes(), file)
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror}") from error


def _of_table(file: Path, problems: list[Problem]) -> tuple[list[Pair], bool]:
    """The pairs of a table, and whether it has no folds."""
    if file.suffix.lower() not in (".csv", ".tsv"):
        frame = read_frame(file)
        cells = [["" if cell is None else str(cell).strip() for cell in row] for row in frame.iter_rows()]
        return _pairs([(0, frame.columns), *enumerate(cells, 1)], file, problems)
    text, separator = split_sep_line(_lines(file), file)
    separator = separator or separator_of(text)
    try:
        reader = csv.reader(text.splitlines(), delimiter=separator, skipinitialspace=True)
        rows = [(line, [cell.strip() for cell in row]) for line, row in enumerate(reader, 1)]
    except csv.Error as error:
        raise DataError(f"{file}: not a readable table: {error}") from error
    return _pairs(rows, file, problems)


def _pairs(rows: Rows, file: Path, problems: list[Problem]) -> tuple[list[Pair], bool]:
    rows = [(line, cells) for line, cells in rows if any(cells)]
    if not rows:
        return [], True
    header = rows[0][1]
    if _is_header(header):
        columns, rows = _columns_by_name(header, rows[1:], file), rows[1:]
    else:
        columns = _Columns(0, 1, 2, 3 if any(len(cells) > 3 and cells[3] for _, cells in rows) else None)
    result, folds = [], []
    for line, cells in rows:
        cells = cells + [""] * (
            max(columns.first, columns.second, columns.same, columns.fold or 0) + 1 - len(cells)
        )
        first, second, same = cells[columns.first], cells[columns.second], cells[columns.same].lower()
        if same not in YES | NO or not first or not second:
            message = f"{','.join(cells).rstrip(',')[:80]!r}: must be path,path,1 or path,path,0"
            problems.append(Problem(file.name, message, line))
            continue
        folds.append(cells[columns.fold] if columns.fold is not None else "")
        result.append(Pair(first, second, (same in YES) != columns.inverted, 0, line))
    if columns.fold is None:
        return result, True
    numbers = _fold_numbers(folds)
    for pair, fold in zip(result, folds, strict=True):
        if not fold:
            message = (
                "has no fold, but other lines have one: fill it in, or remove the column to create new folds"
            )
            problems.append(Problem(file.name, message, pair.line))
    result = [
        Pair(p.first, p.second, p.same, numbers.get(fold, 0), p.line)
        for p, fold in zip(result, folds, strict=True)
    ]
    return result, False


def _fold_numbers(folds: Iterable[str]) -> dict[str, int]:
    """Folds as integers: integers, including 1.0, as they are; other names in sorted order, from 0."""
    names = sorted({fold for fold in folds if fold})
    try:
        numbers = {name: float(name) for name in names}
        if all(number.is_integer() and 0 <= number < 2**31 for number in numbers.values()):
            return {name: int(number) for name, number in numbers.items()}
        names.sort(key=numbers.__getitem__)
    except ValueError:
        pass
    return {name: index for index, name in enumerate(names)}


def _is_header(cells: Sequence[str]) -> bool:
    """Whether a line is a header: none of its cells is an image, a number, or a value such as `yes`.

    `same` is both a value and a column name; beside the names of two image columns it is a column name.
    """
    known = {*STEMS, *FIRST, *SECOND, *SAME, *DIFFERENT, *FOLD}
    filled = [REPEATED.sub(r"\1", cell) for cell in cells if cell]
    if any(IMAGE.match(cell) or re.fullmatch(r"[+-]?[\d.]+", cell) for cell in filled):
        return False
    short = [normalise_name(cell) for cell in filled]
    if all(name in known for name in short):
        return True
    images = sum(name in {*STEMS, *FIRST, *SECOND} for name in short)
    if images > 1 and any(name in SAME | DIFFERENT for name in short):
        return True
    return not any(cell.lower() in YES | NO for cell in cells[2:3])


def _columns_by_name(header: Sequence[str], rows: Rows, file: Path) -> _Columns:
    """Indices of the columns by their names.

    Raises:
        DataError: one is missing or ambiguous; the message names them.
    """
    short = [normalise_name(name) for name in header]
    first, second = _image_columns(header)
    same, different, fold = _places(short, SAME), _places(short, DIFFERENT), _places(short, FOLD)
    exact = [index for index, name in enumerate(short) if name in ("same", "issame")]
    same = exact if len(exact) == 1 else same
    exact = [index for index in fold if short[index].startswith(("fold", "cvfold"))]
    fold = exact or fold
    if len(first) != 1 or len(second) != 1 or len(same) + len(different) != 1 or len(fold) > 1:
        shown = ", ".join(map(repr, header))
        raise DataError(
            f"{file}: the columns of its header, {shown}, are not recognised: a list of pairs has {FORMS}. "
            f"Rename them accordingly"
        )
    result = _Columns(first[0], second[0], (same or different)[0], fold[0] if fold else None, not same)
    if result.fold is not None and not any(
        cells[result.fold] for _, cells in rows if len(cells) > result.fold
    ):
        result = _Columns(result.first, result.second, result.same, None, result.inverted)
    used = [result.first, result.second, result.same, *([result.fold] if result.fold is not None else [])]
    kept = [name or f"column {index + 1}" for index, name in enumerate(header) if index not in used]
    log.info(
        "%s: pairs are in %s and %s; %s says whether they are %s; folds: %s%s",
        file,
        header[result.first],
        header[result.second],
        header[result.same],
        "different" if result.inverted else "the same",
        header[result.fold] if result.fold is not None else "none, so the list is divided",
        f"; ignored: {', '.join(kept)}" if kept else "",
    )
    return result


def _image_columns(header: Sequence[str]) -> tuple[list[int], list[int]]:
    """Indices of the columns of the first and second images, which may have the same name."""
    short = [normalise_name(name) for name in header]
    stems = _places(short, STEMS)
    repeated = [
        index
        for index, name in enumerate(header)
        if (match := REPEATED.match(name)) and stems and match[1] == header[stems[0]]
    ]
    both = [*stems, *repeated]
    if len(both) == 2 and short[both[0]] == short[stems[-1]]:
        return both[:1], both[1:]
    return _places(short, FIRST), _places(short, SECOND)


def _places(names: Sequence[str], known: Collection[str]) -> list[int]:
    return [index for index, name in enumerate(names) if name in known]


def resolve_pair_paths(names: Sequence[str], paths: Sequence[str]) -> np.ndarray:
    """The row of each name among paths, int64; -1 if there is none, -2 if it is ambiguous.

    A name matches the path itself, or the path with the longest common suffix of whole folder and file names;
    its extension may be omitted.
    """
    exact = {path: row for row, path in enumerate(paths)}
    by_name: dict[str, list[int]] = defaultdict(list)
    for row, path in enumerate(paths):
        if path:
            by_name[PurePosixPath(path).name].append(row)
            by_name[PurePosixPath(path).stem].append(row)
    return np.array([exact.get(name, _nearest_path(name, paths, by_name)) for name in names], np.int64)


def _nearest_path(name: str, paths: Sequence[str], by_name: dict[str, list[int]]) -> int:
    parts = PurePosixPath(name.replace("\\", "/")).parts[::-1]
    candidates = dict.fromkeys(by_name.get(parts[0] if parts else "", ()))
    if not candidates:
        return -1
    shared = [_shared_suffix_length(parts[1:], PurePosixPath(paths[row]).parts[-2::-1]) for row in candidates]
    best = max(shared)
    rows = [row for row, count in zip(candidates, shared, strict=True) if count == best]
    return rows[0] if len(rows) == 1 else -2


def _shared_suffix_length(first: Sequence[str], other: Sequence[str]) -> int:
    count = 0
    for mine, theirs in zip(first, other, strict=False):
        if mine != theirs:
            break
        count += 1
    return count


def _of_text(file: Path, problems: list[Problem]) -> tuple[list[Pair], bool]:
    """The pairs of a text file: LFW's format, or lines of paths."""
    lines = _lines(file).splitlines()
    rows = [(line, text.split("\t") if "\t" in text else text.split()) for line, text in enumerate(lines, 1)]
    rows = [(line, [cell.strip() for cell in cells]) for line, cells in rows if any(cells)]
    sides = [cells for _, cells in rows]
    judged = sides and all(len(cells) in (3, 4) and cells[2].lower() in YES | NO for cells in sides)
    if judged and not all(cells[1].isdigit() for cells in sides):
        return _pairs(rows, file, problems)
    if sides and all(
        len(cells) == 3 and cells[0] in ("0", "1") and not cells[2].isdigit() for cells in sides
    ):
        return _pairs([(line, [*cells[1:], cells[0]]) for line, cells in rows], file, problems)
    if rows and _is_separated(lines):
        separator = separator_of("\n".join(lines))
        table = [
            (line, [cell.strip() for cell in text.split(separator)]) for line, text in enumerate(lines, 1)
        ]
        return _pairs(table, file, problems)
    return _read_lfw_pairs(rows, file.name, problems)


def _is_separated(lines: Sequence[str]) -> bool:
    """Whether lines have three or four fields separated by commas or semicolons, as in a CSV."""
    filled = [line for line in lines if line.strip()]
    return any(all(2 <= line.count(sign) <= 4 for line in filled) for sign in ",;")


def _read_lfw_pairs(rows: Rows, name: str, problems: list[Problem]) -> tuple[list[Pair], bool]:
    pairs_per_fold = 0
    if rows and len(rows[0][1]) <= 2 and all(cell.isdigit() for cell in rows[0][1]):
        head = [int(cell) for cell in rows.pop(0)[1]]
        pairs_per_fold = 2 * head[1] if len(head) == 2 else 0
    pairs = []
    for line, cells in rows:
        numbers = [cells[column] for column in ((1, 2) if len(cells) == 3 else (1, 3)) if column < len(cells)]
        if len(cells) not in (3, 4) or not all(number.isdigit() for number in numbers):
            problems.append(
                Problem(name, f"{' '.join(cells)[:80]!r}: must be name i j, or name i other j", line)
            )
            continue
        other = cells[0] if len(cells) == 3 else cells[2]
        first, second = (
            f"{who}/{who}_{int(i):04d}" for who, i in zip((cells[0], other), numbers, strict=True)
        )
        pairs.append(
            Pair(first, second, len(cells) == 3, len(pairs) // pairs_per_fold if pairs_per_fold else 0, line)
        )
    return pairs, not pairs_per_fold
