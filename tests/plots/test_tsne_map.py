import itertools
from contextlib import nullcontext

import numpy as np
import pytest
from looks import readable_pictures
from PIL import Image

from lookalike.plots.style import CLASSES, SERIES
from lookalike.plots.tsne_map import choose_images, layout, mosaic, push_apart, tsne, tsne_thumbnails


def clusters(classes=3, each=12, seed=0):
    rng = np.random.default_rng(seed)
    centres = np.eye(8)[:classes]
    vectors = np.repeat(centres, each, axis=0) + rng.normal(scale=0.05, size=(classes * each, 8))
    labels = np.repeat([f"class {number}" for number in range(classes)], each)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), labels


def test_alike_vectors_lie_together():
    vectors, labels = clusters()
    places = tsne(vectors)
    gaps = np.linalg.norm(places[:, None] - places[None], axis=2) + 1e9 * np.eye(len(places))
    assert (labels[gaps.argmin(axis=1)] == labels).all()


def test_the_same_seed_gives_the_same_map():
    vectors, _ = clusters()
    np.testing.assert_array_equal(tsne(vectors, seed=3), tsne(vectors, seed=3))


@pytest.mark.parametrize("count", [4, 5, 7])
def test_few_or_identical_vectors(count):
    vectors = np.ones((count, 3), np.float32)
    assert np.isfinite(tsne(vectors)).all()


def test_fewer_than_four_are_refused():
    with pytest.raises(ValueError, match="3 vectors"):
        tsne(np.eye(3))


def test_a_memory_mapped_float32_matrix_is_left_alone(tmp_path):
    vectors, _ = clusters()
    np.save(tmp_path / "v.npy", vectors)
    tsne(np.load(tmp_path / "v.npy", mmap_mode="r"))
    np.testing.assert_array_equal(np.load(tmp_path / "v.npy"), vectors)


@pytest.mark.parametrize("count", [2, 40, 400])
def test_no_picture_hides_another(count):
    _, _, tile, corners = layout(np.random.default_rng(0).normal(size=(count, 2)) ** 3, 1200)
    for one, other in itertools.combinations(corners, 2):
        assert np.abs(one - other).max() >= tile


@pytest.mark.parametrize("spots", [1, 300])
def test_no_frames_overlap_where_images_crowd_together(spots):
    rng = np.random.default_rng(0)
    places = np.repeat(rng.normal(size=(spots, 2)), 600 // spots, axis=0)
    width, height, tile, corners = layout(places + rng.normal(scale=1e-3, size=places.shape), 2200)
    gaps = np.abs(corners[:, None] - corners[None]).max(axis=2) + 10**6 * np.eye(600, dtype=int)
    assert gaps.min() >= tile
    assert max(width, height) < 3000


def test_points_on_one_spot_part():
    points = push_apart(np.zeros((9, 2)), 10)
    assert min(np.abs(a - b).max() for a, b in itertools.combinations(points, 2)) >= 10


def test_each_image_is_on_the_map_inside_its_edges():
    colours = [(250, 0, 0), (0, 250, 0), (0, 0, 250)]
    places = np.array([[0.0, 0], [5, 1], [2, 9]])
    picture = mosaic(places, [Image.new("RGB", (40, 20), c) for c in colours], [*"abcdefgh"][:3], side=300)
    for colour in colours:
        rows, columns = np.nonzero((np.asarray(picture) == colour).all(axis=2))
        assert rows.min() > 0 and rows.max() < picture.height - 1
        assert columns.min() > 0 and columns.max() < picture.width - 1


@pytest.mark.parametrize("classes", [2, 6, 7, 20])
def test_frames_have_the_colour_of_the_class(classes):
    rng = np.random.default_rng(0)
    images = [Image.new("RGB", (9, 9), "white") for _ in range(classes)]
    labels = ["<script>$x$", *(f"a rather long class name {n}" for n in range(1, classes))]
    with readable_pictures() if classes <= 6 else nullcontext():
        picture = np.asarray(mosaic(rng.normal(size=(classes, 2)), images, labels, side=500))
    seen = {f"#{r:02x}{g:02x}{b:02x}" for r, g, b in np.unique(picture.reshape(-1, 3), axis=0)}
    assert set(SERIES[:classes] if classes <= 6 else CLASSES[:classes]) <= seen


def test_the_figure_shows_the_picture_pixel_by_pixel():
    vectors, labels = clusters(each=4)
    images = [Image.new("RGB", (8, 8), "red")] * len(labels)
    figure = tsne_thumbnails(vectors, images, labels, side=400)
    width, height = figure.get_size_inches() * figure.dpi
    assert figure.axes[0].images[0].get_size() == (round(height), round(width))


def test_all_images_are_chosen_if_they_fit():
    np.testing.assert_array_equal(choose_images(np.array(list("aabb")), 4), range(4))


def test_whole_classes_are_chosen_from_many_small_ones():
    labels = np.repeat(np.arange(1000), 5)
    rows = choose_images(labels, 200, seed=1)
    assert len(rows) == 200 and len(np.unique(labels[rows])) == 40
    np.testing.assert_array_equal(rows, choose_images(labels, 200, seed=1))


def test_few_large_classes_share_the_map():
    labels = np.array([0] * 5000 + [1] * 100)
    counts = np.bincount(labels[choose_images(labels, 200)])
    assert counts.tolist() == [100, 100]
