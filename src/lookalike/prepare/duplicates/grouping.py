"""Groups of rows from pairs of rows."""

import numpy as np


def star_groups(pairs: np.ndarray, sizes: np.ndarray) -> list[list[int]]:
    """Groups in which every member is paired with the first, which is the largest; never chains.

    The largest row takes all rows that it is paired with, then the largest of the others, and so on.

    Args:
        pairs: rows, int64 [P, 2].
        sizes: of all rows, [N]; of equal ones the lower row comes first.
    """
    partners: dict[int, set[int]] = {}
    for one, other in pairs.tolist():
        partners.setdefault(one, set()).add(other)
        partners.setdefault(other, set()).add(one)
    taken: set[int] = set()
    groups = []
    for row in sorted(partners, key=lambda row: (-sizes[row], row)):
        if row in taken:
            continue
        members = sorted(partners[row] - taken)
        taken.update([row, *members])
        if members:
            groups.append([row, *members])
    return groups


def components(pairs: np.ndarray, sizes: np.ndarray) -> list[list[int]]:
    """Connected sets of rows, the largest row of each first."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    if not len(pairs):
        return []
    rows, positions = np.unique(pairs, return_inverse=True)
    positions = positions.reshape(-1, 2)
    graph = coo_matrix((np.ones(len(pairs), bool), positions.T), (len(rows), len(rows)))
    _, labels = connected_components(graph, directed=False)
    order = np.lexsort((rows, -sizes[rows], labels))
    ordered = labels[order]
    cuts = np.flatnonzero(ordered[1:] != ordered[:-1]) + 1
    return [group.tolist() for group in np.split(rows[order], cuts)]
