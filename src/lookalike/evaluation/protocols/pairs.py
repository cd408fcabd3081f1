"""The protocol of a given list of pairs, such as LFW's."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from lookalike.data.pairs import read_pairs, resolve_pair_paths
from lookalike.errors import DataError, Problem, one_per_row
from lookalike.evaluation.protocols.base import Rules, Samples, TaskPart
from lookalike.metrics.pair_counts import IdentityCounts, PairBlock


@dataclass(frozen=True)
class PairList(Rules):
    """The pairs of a list are judged, no others; there is no retrieval (LFW: Huang et al. 2007).

    Attributes:
        file: LFW's pairs.txt, or a CSV of path, path, same and perhaps fold.
        folds: into how many folds a list is cut that names none, for `fold_accuracy`.
    """

    file: Path = Path()
    folds: int = 10

    def to_dict(self) -> dict[str, Any]:
        """The rules, with what the list says instead of where it lies."""
        text = self.file.read_bytes() if self.file.is_file() else b""
        return {**super().to_dict(), "file": hashlib.sha256(text).hexdigest()}

    def parts(self, samples: Samples) -> list[TaskPart]:
        """None: nobody looks for anybody."""
        return []

    def pairs(self, samples: Samples) -> pl.DataFrame:
        """One line a pair: first and second (rows), same, fold, similarity.

        Raises:
            DataError: a pair names an image that is not there.
        """
        listed = read_pairs(self.file, self.folds)
        first, second = (
            _rows([getattr(pair, side) for pair in listed], samples) for side in ("first", "second")
        )
        problems = [
            Problem(self.file.name, _reason_not_found(name, row), pair.line)
            for pair, *rows in zip(listed, first, second, strict=True)
            for name, row in zip((pair.first, pair.second), rows, strict=True)
            if row < 0
        ]
        if problems:
            problems = one_per_row(problems)
            raise DataError(
                f"{self.file}: {len(problems)} lines name images that are not among the vectors:", problems
            )
        scores = np.einsum("pd,pd->p", samples.unit[first].astype(np.float64), samples.unit[second])
        return pl.DataFrame(
            {
                "first": first,
                "second": second,
                "same": [pair.same for pair in listed],
                "fold": [pair.fold for pair in listed],
                "similarity": scores.clip(-1, 1),
            }
        )


def counts_of_listed_pairs(
    codes: np.ndarray | None, same: np.ndarray, scores: np.ndarray, size: int, thresholds: np.ndarray
) -> IdentityCounts:
    """The pairs of a list by the identities of their images [P, 2]; without these each pair stands alone."""
    if codes is None:
        first = 2 * np.arange(len(same))
        codes, size = np.stack([first, first + ~same], axis=1), 2 * len(same)
    block = PairBlock(codes[:, 0], codes[:, 1], scores)
    return IdentityCounts.count_blocks([block], np.arange(size), thresholds)


def _rows(names: list[str], samples: Samples) -> np.ndarray:
    """The row of each name: by its very path, by the file that a crop was made from, or by the end of its
    path.
    """
    paths = samples.column("path", "pairs").to_list()
    rows = resolve_pair_paths(names, paths)
    if samples.frame.schema.get("original") != pl.String:
        return rows
    exact = set(paths)
    of_originals = resolve_pair_paths(names, samples.frame["original"].to_list())
    by_original = np.array([name not in exact for name in names]) & (of_originals != -1)
    return np.where(by_original, of_originals, rows)


def _reason_not_found(name: str, row: int) -> str:
    return f"{name}: {'there is no such image' if row == -1 else 'several images are called so'}"
