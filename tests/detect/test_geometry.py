import math

import numpy as np
import pytest
from PIL import Image

from lookalike.detect.geometry import (
    ARCFACE,
    Similarity,
    aligning_similarity,
    squaring_similarity,
    upright_similarity,
)
from lookalike.detect.warping import warp_image

FACE = np.array([[30.0, 40.0], [60.0, 40.0], [45.0, 60.0], [34.0, 75.0], [56.0, 75.0]])


def transform_points(points, degrees, scale=1.0, shift=(0.0, 0.0)):
    c, s = scale * math.cos(math.radians(degrees)), scale * math.sin(math.radians(degrees))
    return points @ np.array([[c, s], [-s, c]]) + shift


@pytest.mark.parametrize("degrees", [0, 7, 90, 179, -120])
@pytest.mark.parametrize("size", [240, 112, 31])
def test_eyes_land_exactly_where_they_belong(degrees, size):
    move = aligning_similarity(transform_points(FACE, degrees, 3.7, (200, 90)), "eyes", size)
    eyes = move(transform_points(FACE, degrees, 3.7, (200, 90)))[:2]
    np.testing.assert_allclose(eyes, [[0.35 * size, 0.4 * size], [0.65 * size, 0.4 * size]], atol=1e-9)
    assert move(transform_points(FACE, degrees, 3.7, (200, 90)))[3, 1] > 0.4 * size, (
        "the mouth is below the eyes"
    )


def test_other_targets():
    move = aligning_similarity(FACE, "eyes", 100, eyes=(0.2, 0.5))
    np.testing.assert_allclose(move(FACE[:2]), [[20, 50], [80, 50]], atol=1e-9)


@pytest.mark.parametrize("degrees", [0, 33, -150])
@pytest.mark.parametrize("size", [112, 240])
def test_a_face_like_the_template_lands_on_it(degrees, size):
    face = transform_points(ARCFACE, degrees, 2.2, (-40, 300))
    landed = aligning_similarity(face, "arcface", size)(face)
    np.testing.assert_allclose(landed, (ARCFACE + 0.5) * size / 112, atol=1e-6)


def test_the_fit_is_the_least_squares_one():
    rng = np.random.default_rng(3)
    source, target = rng.normal(size=(5, 2)) * 40 + 100, rng.normal(size=(5, 2)) * 30
    rows, wanted = [], target.ravel()
    for x, y in source:
        rows += [[x, -y, 1, 0], [y, x, 0, 1]]
    a, b, c, d = np.linalg.lstsq(np.array(rows), wanted, rcond=None)[0]
    move = Similarity.fit(source, target)
    np.testing.assert_allclose([move.turn.real, move.turn.imag], [a, b], atol=1e-9)
    np.testing.assert_allclose([move.shift.real, move.shift.imag], [c, d], atol=1e-7)
    np.testing.assert_allclose(move.inverse()(move(source)), source, atol=1e-9)


def test_landmarks_at_one_place_are_refused():
    with pytest.raises(ValueError, match="landmarks are identical"):
        aligning_similarity(np.full((5, 2), 17.3), "eyes", 240)
    with pytest.raises(ValueError, match="needs five landmarks, got 2"):
        aligning_similarity(FACE[:2], "arcface", 112)


@pytest.mark.parametrize("degrees", [0, 100, 180])
def test_eyes_named_the_other_way_round(degrees):
    face = transform_points(FACE, degrees)
    np.testing.assert_array_equal(upright_similarity(face[[1, 0, 2, 4, 3]]), face)
    np.testing.assert_array_equal(upright_similarity(face[[1, 0, 2]]), face[:3])
    np.testing.assert_array_equal(upright_similarity(face), face)
    np.testing.assert_array_equal(upright_similarity(FACE[[1, 0]]), FACE[:2])


def test_a_square_around_a_box():
    move = squaring_similarity((10, 20, 50, 40), 0.25, 120)
    np.testing.assert_allclose(move(np.array([[30, 30], [0, 0], [60, 60]])), [[60, 60], [0, 0], [120, 120]])


def picture_with_dots(points, shape, radius):
    """A grey picture with a white dot, smooth at its border, at each point."""
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    dots = [np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * radius**2)) for px, py in points]
    return Image.fromarray(np.rint(55 + 200 * np.sum(dots, axis=0)).astype(np.uint8)).convert("RGB")


def centroid(image, near, reach):
    pixels = np.asarray(image, np.float64)[:, :, 0] - 55
    y, x = np.mgrid[: pixels.shape[0], : pixels.shape[1]] + 0.5
    weight = np.clip(pixels, 0, None) * ((abs(x - near[0]) < reach) & (abs(y - near[1]) < reach))
    return (weight * x).sum() / weight.sum(), (weight * y).sum() / weight.sum()


@pytest.mark.parametrize(("scale", "degrees"), [(1.0, 0), (0.5, 25), (6.0, -70), (2.3, 178)])
def test_pixels_go_where_coordinates_go(scale, degrees):
    """Dots drawn at two eyes are measured in the crop: far below a tenth of a pixel, shrunk or enlarged."""
    eyes = transform_points(np.array([[-24.0, 0.0], [24.0, 0.0]]), degrees, scale) + 200
    mouth = transform_points(np.array([[0.0, 40.0]]), degrees, scale) + 200
    image = picture_with_dots(eyes, (400, 400), 3 * scale)
    crop = warp_image(image, aligning_similarity(np.concatenate([eyes, mouth]), "eyes", 160), 160)
    for x, y in ((56, 64), (104, 64)):
        np.testing.assert_allclose(centroid(crop, (x, y), 18), (x, y), atol=0.02)


def test_fine_patterns_become_grey_when_shrunk():
    board = np.indices((512, 512)).sum(axis=0) % 2 * 255
    image = Image.fromarray(board.astype(np.uint8)).convert("RGB")
    turn = 0.1 * np.exp(0.3j)
    crop = np.asarray(warp_image(image, Similarity(turn, 16 + 16j - turn * (256 + 256j)), 32), np.int64)
    assert abs(crop[8:24, 8:24] - 128).max() <= 4


def test_black_outside_and_nothing_else():
    image = Image.new("RGB", (40, 30), (200, 100, 50))
    crop = np.asarray(warp_image(image, squaring_similarity((0, 0, 40, 30), 0, 80), 80))
    assert crop.shape == (80, 80, 3)
    assert (crop[12:68] == (200, 100, 50)).all()
    assert not crop[:8].any()
    assert not crop[72:].any()
    far = warp_image(image, squaring_similarity((500, 500, 540, 540), 0, 20), 20)
    assert not np.asarray(far).any()
    same = np.asarray(warp_image(image, squaring_similarity((10, 5, 30, 25), 0, 20), 20))
    np.testing.assert_array_equal(same, np.asarray(image.crop((10, 5, 30, 25))))
