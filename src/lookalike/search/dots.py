"""Exact scores: dot products in float64."""

import warnings

import numpy as np
import torch

COLUMNS = 8192
"""Gallery rows that are converted to float64 at once."""

PAIRS = 1 << 15
"""Pairs that are gathered at once where there is no product of chosen pairs."""


def exact_rows(vectors: np.ndarray, rows: np.ndarray | slice, device: torch.device) -> torch.Tensor:
    """Some vectors as float64."""
    return torch.from_numpy(vectors[rows]).to(device).double()


def all_scores(queries: np.ndarray, gallery: np.ndarray, device: torch.device) -> np.ndarray:
    """The scores of all pairs, float64 [Q, N]; exact for vectors from `unit_vectors`."""
    left = torch.from_numpy(queries).to(device).double()
    scores = torch.empty(len(queries), len(gallery), dtype=torch.float64, device=device)
    for start in range(0, len(gallery), COLUMNS):
        part = exact_rows(gallery, slice(start, start + COLUMNS), device)
        torch.mm(left, part.T, out=scores[:, start : start + len(part)])
    return scores.cpu().numpy()


def chosen_scores(left: torch.Tensor, right: torch.Tensor, places: np.ndarray) -> np.ndarray:
    """The scores of some pairs [P], in the type of the vectors; in float64 exact for those of `unit_vectors`.

    Args:
        left: [R, D].
        right: [C, D].
        places: of the pairs in the flattened matrix of all scores [R, C], ascending.
    """
    width = len(right)
    if left.device.type != "cpu":
        return _gathered_scores(left, right, *np.divmod(places, width))
    ends = np.searchsorted(places, np.arange(len(left) + 1) * width)
    columns = places & (width - 1) if width & (width - 1) == 0 else places % width
    wanted = torch.sparse_csr_tensor(
        torch.from_numpy(ends),
        torch.from_numpy(columns),
        torch.zeros(len(columns), dtype=left.dtype),
        (len(left), width),
        check_invariants=False,
    )
    return torch.sparse.sampled_addmm(wanted, left, right.T, beta=0).values().numpy()


def quiet_sparse() -> None:
    """Have torch say now, unheard, that its sparse matrices are new; it says so once in a process."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.sparse_csr_tensor([0, 1], [0], [1.0], (1, 1))


def _gathered_scores(
    left: torch.Tensor, right: torch.Tensor, rows: np.ndarray, columns: np.ndarray
) -> np.ndarray:
    scores = np.empty(len(rows), np.float64 if left.dtype is torch.float64 else np.float32)
    for start in range(0, len(rows), PAIRS):
        part = slice(start, start + PAIRS)
        one = left[torch.from_numpy(rows[part]).to(left.device)]
        other = right[torch.from_numpy(columns[part]).to(left.device)]
        scores[part] = (one * other).sum(dim=1).cpu().numpy()
    return scores
