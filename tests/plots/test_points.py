import sys

import numpy as np
import pytest
from looks import check_readable, texts_on_figure
from sklearn.decomposition import PCA

from lookalike.errors import ConfigError
from lookalike.plots import projection
from lookalike.plots.image_map import image_map
from lookalike.plots.labels import distinct_colours, separate_boxes
from lookalike.plots.points import draw_points, pca_points, sample_rows, tsne_points, umap_points
from lookalike.plots.style import CLASSES, FAINT


def random_vectors(classes, each, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), each)
    return (rng.normal(size=(classes, 8))[labels] + 0.3 * rng.normal(size=(len(labels), 8))), labels


def test_pca_is_that_of_scikit_learn():
    vectors, _ = random_vectors(5, 8)
    found, shares = projection.pca(vectors.astype(np.float32))
    peer = PCA(2).fit(vectors.astype(np.float32).astype(np.float64))
    theirs = peer.transform(vectors.astype(np.float32).astype(np.float64))
    signs = np.sign((found * theirs).sum(axis=0))
    np.testing.assert_allclose(found * signs, theirs, atol=1e-9)
    np.testing.assert_allclose(shares, peer.explained_variance_ratio_, atol=1e-12)


@pytest.mark.parametrize("vectors", [np.ones((5, 3)), np.arange(6.0)[:, None], np.eye(4)])
def test_pca_of_degenerate_vectors(vectors):
    found, shares = projection.pca(vectors)
    assert found.shape == (len(vectors), 2) and np.isfinite(found).all() and (shares <= 1 + 1e-12).all()


@pytest.mark.parametrize("method", ["tsne", "umap", "pca"])
def test_a_map_needs_four_vectors(method):
    with pytest.raises(ValueError, match="needs at least 4"):
        projection.project(np.eye(3), method)


def test_each_image_is_a_point_of_its_class():
    vectors, labels = random_vectors(5, 6)
    figure = pca_points(vectors, labels)
    found, _ = projection.pca(vectors)
    classes = figure.axes[0].collections[1:]
    assert len(classes) == 5
    for label, dots in enumerate(classes):
        np.testing.assert_allclose(dots.get_offsets(), found[labels == label])
    assert len({tuple(dots.get_facecolor()[0]) for dots in classes}) == 5


def test_a_label_stands_in_the_thick_of_its_class():
    centres = np.array([[0.0, 0], [50, 0], [0, 50]])
    labels = np.repeat(["a", "b", "c"], 9)
    spots = np.repeat(centres, 9, axis=0) + np.random.default_rng(0).normal(size=(27, 2))
    figure = draw_points(spots, labels)
    for text, name in zip(figure.axes[0].texts, "abc", strict=True):
        assert text.get_text() == name
        np.testing.assert_allclose(text.get_position(), np.median(spots[labels == name], axis=0), atol=1)


def test_the_label_of_a_class_in_two_parts_stands_at_one_of_them():
    spots = np.random.default_rng(0).normal(size=(40, 2)) + np.repeat([[0, 0], [90, 0]], [17, 23], axis=0)
    figure = draw_points(np.concatenate([spots, [[45, 60.0]]]), np.repeat(["split", "other"], [40, 1]))
    place = {text.get_text(): text.get_position() for text in figure.axes[0].texts}["split"]
    assert np.linalg.norm(spots - place, axis=1).min() < 2


@pytest.mark.parametrize(("classes", "each"), [(1, 5), (2, 4), (10, 3), (11, 3), (41, 3), (500, 2)])
@pytest.mark.parametrize("close", [False, True])
def test_labels_and_legend_can_be_read(classes, each, close):
    labels = np.repeat([f"a class with a rather long name, $n$ {n}" for n in range(classes)], each)
    spots = np.random.default_rng(0).normal(size=(len(labels), 2)) * (1e-3 if close else 1)
    if close:
        spots[0] = 30.0
    figure = draw_points(
        spots, labels, "How it was made, in a sentence.", of=9999, axes_names=["one", "other"]
    )
    check_readable(figure)
    assert f"{classes - 40:,} more class" in " ".join(texts_on_figure(figure)) or classes <= 40


def test_the_largest_classes_are_named_and_the_others_grey():
    labels = np.repeat(np.arange(50), np.arange(1, 51))
    figure = draw_points(np.random.default_rng(0).normal(size=(len(labels), 2)), labels, named=3)
    grey, *named = figure.axes[0].collections
    assert [len(dots.get_offsets()) for dots in named] == [48, 49, 50]
    assert len(grey.get_offsets()) == len(labels) - 147
    assert FAINT == "#c9cdd2" and tuple(grey.get_facecolor()[0][:3]) == pytest.approx(
        (0.788, 0.804, 0.824), abs=1e-3
    )


def test_classes_side_by_side_differ_in_colour():
    spots = np.random.default_rng(0).uniform(size=(60, 2))
    looks = distinct_colours(spots)
    assert len(set(looks)) == 60 and {colour for colour, _ in looks} == set(CLASSES)
    gaps = np.linalg.norm(spots[:, None] - spots[None], axis=2) + 9 * np.eye(60)
    nearest = gaps.argmin(axis=1)
    assert all(looks[place][0] != looks[other][0] for place, other in enumerate(nearest))


def test_boxes_part_and_stay_on_the_paper():
    sizes = np.random.default_rng(0).uniform(5, 30, size=(40, 2))
    found = separate_boxes(np.full((40, 2), 3.0), sizes, (400, 300))
    for one in range(40):
        assert (found[one] >= sizes[one] / 2).all() and (found[one] <= [400, 300] - sizes[one] / 2).all()
        for other in range(one):
            gaps = np.abs(found[one] - found[other]) - (sizes[one] + sizes[other]) / 2
            assert gaps.max() >= 0


def test_a_box_with_room_around_it_stays_where_it_is():
    wanted = np.array([[50.0, 50], [150, 50]])
    np.testing.assert_allclose(separate_boxes(wanted, np.full((2, 2), 20), (200, 100)), wanted, atol=0.1)


def test_the_lot_is_seeded_and_in_order():
    rows = sample_rows(1000, 50, 3)
    assert len(rows) == 50 and (np.diff(rows) > 0).all()
    np.testing.assert_array_equal(rows, sample_rows(1000, 50, 3))
    np.testing.assert_array_equal(sample_rows(9, 50, 3), range(9))


def test_tsne_says_how_many_of_how_many():
    vectors, labels = random_vectors(4, 30)
    figure = tsne_points(vectors, labels, most=40)
    assert any("40 of 120 images of 4 classes" in text.get_text() for text in figure.texts)
    check_readable(figure)


def test_umap_without_its_package_says_what_to_install(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(projection, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'lookalike\[explore\]'"):
        umap_points(*random_vectors(3, 4))


@pytest.mark.slow
def test_umap_keeps_what_is_alike_together():
    pytest.importorskip("umap")
    vectors, labels = random_vectors(3, 15)
    found = projection.umap(vectors, seed=1)
    gaps = np.linalg.norm(found[:, None] - found[None], axis=2) + 1e9 * np.eye(len(found))
    assert (labels[gaps.argmin(axis=1)] == labels).mean() > 0.9
    np.testing.assert_array_equal(found, projection.umap(vectors, seed=1))
    assert "umap" in sys.modules


@pytest.mark.parametrize(("classes", "each"), [(2, 3), (12, 2)])
def test_a_map_of_images(pictures, classes, each):
    vectors, labels = random_vectors(classes, each)
    figure = image_map(vectors, labels, pictures, method="pca", side=400)
    check_readable(figure)
    assert f"{classes} classes" in figure.texts[0].get_text()
