"""Colours and labels of classes on a map: adjacent classes differ in colour, labels do not overlap."""

from collections.abc import Sequence

import numpy as np

from lookalike.plots.style import CLASSES, MARKERS

Look = tuple[str, str]


def distinct_colours(positions: np.ndarray, num_neighbours: int = 6) -> list[Look]:
    """A colour and a marker for each class; classes that are close together differ in colour.

    The classes are gone through in order. As long as there are unused colours, each gets the next one, and
    the next marker. After that, each gets the colour least used among the `num_neighbours` nearest ones,
    then the one least used at all, and of the markers one not used with this colour.

    Args:
        positions: where each class is, [C, 2].
        num_neighbours: how many of the others count as close.
    """
    colours = np.full(len(positions), -1)
    looks: list[Look] = []
    for number, index in enumerate(positions):
        gaps = np.linalg.norm(positions[:number] - index, axis=1)
        close = np.bincount(
            colours[:number][np.argsort(gaps, kind="stable")[:num_neighbours]], minlength=len(CLASSES)
        )
        used = np.bincount(colours[:number], minlength=len(CLASSES))
        colour = number if number < len(CLASSES) else int(np.lexsort((used, close))[0])
        looks.append((CLASSES[colour], MARKERS[(colour + used[colour]) % len(MARKERS)]))
        colours[number] = colour
    return looks


def separate_boxes(
    centres: np.ndarray, sizes: np.ndarray, room: Sequence[float], gap: float = 2.0, step: float = 4.0
) -> np.ndarray:
    """Move boxes so that none overlap and all are inside `room`.

    One after the other, each to the free place that is nearest to where it should be.

    Args:
        centres: wanted centres, [N, 2].
        sizes: widths and heights, [N, 2].
        room: width and height of the paper, in the same unit.
        gap: left between two boxes.
        step: between the places that are tried. With more boxes than the paper holds, the last ones stay
            where they should be.

    Returns:
        the centres, [N, 2].
    """
    half = (np.asarray(sizes, float) + gap) / 2
    paper = np.asarray(room, float)
    grid = np.stack(np.meshgrid(*(np.arange(0, side + step, step) for side in paper)), axis=-1).reshape(-1, 2)
    placed = np.empty((0, 2))
    for number, target in enumerate(np.asarray(centres, float)):
        low, high = half[number], np.maximum(paper - half[number], half[number])
        tried = np.clip(np.concatenate([target[None], grid]), low, high)
        reach = half[:number] + half[number]
        is_taken = (np.abs(tried[:, None] - placed[None]) < reach).all(axis=2).any(axis=1)
        far = np.linalg.norm(tried - target, axis=1)
        best = tried[np.where(is_taken, np.inf, far).argmin()] if not is_taken.all() else tried[0]
        placed = np.concatenate([placed, best[None]])
    return placed
