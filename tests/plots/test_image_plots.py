"""Plots that show images: similarities, hubs, confusable classes, queries, what makes two alike."""

import numpy as np
import polars as pl
import pytest
from looks import check_readable, readable_pictures
from PIL import Image

from lookalike.errors import DataError
from lookalike.metrics.neighbours import Neighbours, hubness
from lookalike.plots.confused_classes import confusable, find_confused_classes
from lookalike.plots.distance_matrix import choose_rows, class_blocks, similarity_matrix
from lookalike.plots.first_batch import batch_preview
from lookalike.plots.hub_images import count_hits, hubs
from lookalike.plots.knn_vote import nearest_neighbours
from lookalike.plots.neighbours import gallery
from lookalike.plots.query_selection import closest_to_threshold
from lookalike.plots.query_sheet import query_sheet


def random_vectors(classes, each, seed=0, noise=1.0):
    rng = np.random.default_rng(seed)
    labels = np.repeat([f"a class with a rather long name, ${n}$" for n in range(classes)], each)
    codes = np.repeat(np.arange(classes), each)
    return rng.normal(size=(classes, 6))[codes] + noise * rng.normal(size=(len(codes), 6)), labels


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_a_cell_is_the_cosine_distance_of_its_two_images(pictures):
    vectors, labels = random_vectors(3, 3)
    figure = similarity_matrix(vectors, labels, pictures, rows=[0, 1, 5, 8])
    wanted = 1 - unit(vectors[[0, 1, 5, 8]]) @ unit(vectors[[0, 1, 5, 8]]).T
    np.testing.assert_allclose(figure.axes[0].images[0].get_array(), wanted, atol=1e-6)
    written = {text.get_position(): text.get_text() for text in figure.axes[0].texts}
    assert written[(2, 1)] == f"{wanted[1, 2]:.2f}" and written[(0, 0)] == "0.00"


def test_near_is_blue_and_far_is_green(pictures):
    figure = similarity_matrix(
        np.array([[1.0, 0], [0.99, 0.1], [-1, 0]]), np.arange(3), pictures, rows=[0, 1, 2]
    )
    picture = figure.axes[0].images[0]
    near, far = (picture.cmap(picture.norm(value)) for value in (0.0, 1.6))
    assert near[2] > 2 * near[1] and far[1] > far[2]


@pytest.mark.parametrize(("classes", "each"), [(1, 2), (2, 5), (8, 6)])
def test_similarities_can_be_read(pictures, classes, each):
    vectors, labels = random_vectors(classes, each)
    check_readable(similarity_matrix(vectors, labels, pictures, num_classes=classes, per_class=each))


def test_classes_and_images_are_chosen():
    _, labels = random_vectors(4, 5)
    rows = choose_rows(labels, [labels[12], labels[0]], 9, 3, 0)
    assert [labels[row] for row in rows] == [labels[12]] * 3 + [labels[0]] * 3
    assert class_blocks(labels[rows]) == [(0, 3), (3, 6)]
    assert choose_rows(labels, None, 2, 3, 0) == choose_rows(labels, None, 2, 3, 0)
    with pytest.raises(ValueError, match="no class 'none'"):
        choose_rows(labels, ["none"], 1, 1, 0)
    assert choose_rows(np.array([7, 7, 2**63 - 1]), ["7"], 1, 5, 0) == [0, 1]


@pytest.mark.parametrize("rows", [[0], [0, 99], list(range(49))])
def test_what_cannot_be_shown_is_refused(pictures, rows):
    vectors, labels = random_vectors(10, 5)
    with pytest.raises(ValueError, match=r"can be shown|no row 99"):
        similarity_matrix(vectors, labels, pictures, rows=rows)


def test_hubs_are_counted_as_by_the_metric(pictures):
    vectors, labels = random_vectors(6, 9)
    found = count_hits(vectors, labels, k=4)
    near = np.argsort(-(unit(vectors) @ unit(vectors).T) + 9 * np.eye(54), axis=1, kind="stable")[:, :4]
    np.testing.assert_array_equal(found.counts, np.bincount(near.ravel(), minlength=54))
    assert found.wrong.sum() == (labels[near] != labels[:, None]).sum()
    rows, scores = nearest_neighbours(vectors, 4)
    metric = hubness(Neighbours(rows, rows, scores, rows[:, 0], rows[:, 0], 54), 4)
    assert found.skewness == pytest.approx(metric["hubness_skewness"])


@pytest.mark.parametrize(("classes", "each"), [(1, 2), (4, 30), (200, 3)])
def test_hubs_can_be_read(pictures, classes, each):
    check_readable(hubs(*random_vectors(classes, each), pictures))


def test_pairs_of_classes_are_those_a_loop_finds():
    vectors, labels = random_vectors(7, 8, noise=2.0)
    likeness = unit(vectors) @ unit(vectors).T - 9 * np.eye(len(labels))
    wanted: dict[frozenset, set] = {}
    for row in range(len(labels)):
        for other in np.argsort(-likeness[row])[:3]:
            if labels[other] != labels[row]:
                wanted.setdefault(frozenset({labels[row], labels[other]}), set()).add(row)
    found = find_confused_classes(vectors, labels, k=3, limit=100)
    assert {frozenset({each.one, each.other}): each.count for each in found} == {
        pair: len(rows) for pair, rows in wanted.items()
    }
    assert [each.count for each in found] == sorted((each.count for each in found), reverse=True)
    for each in found:
        assert (labels[each.rows[0]], labels[each.rows[1]]) == (each.one, each.other)
        assert each.similarity == pytest.approx(likeness[each.rows], abs=1e-6)
        assert each.of == 16


@pytest.mark.parametrize(("classes", "each"), [(1, 3), (2, 20), (300, 2)])
def test_confusable_classes_can_be_read(pictures, classes, each):
    check_readable(confusable(*random_vectors(classes, each, noise=3.0), pictures))


def answers(similarities, right):
    labels = np.array(["a", "b"] * 10)
    return labels, pl.DataFrame(
        {
            "row": list(range(len(similarities))),
            "map@r": [float(each) for each in right],
            "neighbours": [[(row + (2 if ok else 1)) % 20] for row, ok in enumerate(right)],
            "scores": [[value] for value in similarities],
        }
    )


def test_the_least_sure_decisions_come_first():
    labels, per_query = answers([0.9, 0.52, 0.1, 0.49, 0.505], [True, False, True, True, False])
    found = closest_to_threshold(per_query, labels, 0.5, limit=3)
    assert [each.row for each in found] == [4, 3, 1]
    assert [each.value for each in found] == pytest.approx([0.005, -0.01, 0.02])


@pytest.mark.parametrize("which", ["worst", "best", "closest"])
def test_queries_can_be_read(pictures, which):
    labels, per_query = answers(np.linspace(0.1, 0.9, 20).tolist(), [True, False] * 10)
    with readable_pictures():
        figure = query_sheet(per_query, labels, pictures, threshold=0.5, which=which, count=3)
    check_readable(figure)


def test_without_a_threshold_nothing_is_close_to_it(pictures):
    labels, per_query = answers([0.5], [True])
    with pytest.raises(DataError, match=r"threshold=0\.5"):
        query_sheet(per_query, labels, pictures, which="closest")
    with pytest.raises(DataError, match="no query to show"):
        query_sheet(per_query[:0], labels, pictures)


def test_a_contact_sheet_with_long_names_can_be_read():
    image, name = Image.new("RGB", (30, 20)), "a name much longer than its picture is wide"
    with readable_pictures():
        gallery([(image, [(image, name, 0.5, ok) for ok in (True, False, None)])], [name])


@pytest.mark.parametrize("classes", [1, 5, 64])
def test_a_batch_can_be_read(classes):
    images = np.zeros((2 * classes, 16, 16, 3), np.uint8)
    with readable_pictures():
        figure = batch_preview(images, [f"a rather long name {n // 2}" for n in range(2 * classes)])
    assert figure.axes[0].images
