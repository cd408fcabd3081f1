"""That the looks of classes can be told apart."""

import numpy as np
import pytest

from lookalike.plots.labels import distinct_colours
from lookalike.plots.style import CLASSES

# Machado, Oliveira and Fernandes 2009, severity 1.
SEEN = {
    "all colours": np.eye(3),
    "no red": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "no green": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.01182, 0.04294, 0.968881],
    ],
    "no blue": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.3039],
    ],
}
APART = {"all colours": 0.1, "no red": 0.06, "no green": 0.05, "no blue": 0.07}


def oklab(colours, seen):
    """Ottosson 2020; a difference of 0.02 can just be seen."""
    values = np.array([[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in colours]) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    cones = (
        np.clip(linear @ np.array(seen).T, 0, 1)
        @ np.array(
            [
                [0.4122214708, 0.5363325363, 0.0514459929],
                [0.2119034982, 0.6806995451, 0.1073969566],
                [0.0883024619, 0.2817188376, 0.6299787005],
            ]
        ).T
    )
    return (
        np.cbrt(cones)
        @ np.array(
            [
                [0.2104542553, 0.7936177850, -0.0040720468],
                [1.9779984951, -2.4285922050, 0.4505937099],
                [0.0259040371, 0.7827717662, -0.8086757660],
            ]
        ).T
    )


@pytest.mark.parametrize("name", SEEN)
def test_the_first_twenty_colours_can_be_told_apart(name):
    assert len(set(CLASSES)) == len(CLASSES) == 20
    places = oklab(CLASSES, SEEN[name])
    gaps = np.linalg.norm(places[:, None] - places[None], axis=2) + np.eye(20)
    assert gaps.min() >= APART[name], np.unravel_index(gaps.argmin(), gaps.shape)


@pytest.mark.parametrize("classes", [2, 9, 10, 20])
def test_up_to_twenty_classes_each_have_a_colour_of_their_own(classes):
    looks = distinct_colours(np.random.default_rng(0).normal(size=(classes, 2)))
    assert len({colour for colour, _ in looks}) == classes
    assert len({marker for _, marker in looks}) == min(classes, 7), (
        "and neighbours in the list another marker"
    )


def test_a_hundred_classes_have_looks_of_their_own():
    looks = distinct_colours(np.random.default_rng(0).normal(size=(100, 2)))
    assert len(set(looks)) == 100
