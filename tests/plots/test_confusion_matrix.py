import numpy as np
import pytest
from looks import check_readable
from sklearn.metrics import confusion_matrix
from sklearn.neighbors import KNeighborsClassifier

from lookalike.metrics.neighbours import Neighbours, knn_at
from lookalike.plots.confusion_matrix import Confusion, confusion, draw_confusion
from lookalike.plots.knn_vote import nearest_neighbours, predict_classes

LONG = "a class with a rather long name, number"


def random_vectors(classes, each, noise=1.0, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), each)
    return rng.normal(size=(classes, 8))[labels] + noise * rng.normal(size=(len(labels), 8)), labels


def cells(figure):
    """Counts that are written in the matrix, by row and column."""
    return {
        (round(text.get_position()[1]), round(text.get_position()[0])): int(text.get_text().replace(",", ""))
        for text in figure.axes[0].texts
    }


def test_counts_are_those_of_scikit_learn():
    vectors, labels = random_vectors(6, 20)
    names = np.array([f"class {label}" for label in labels])
    said = predict_classes(vectors, names, k=5)
    found = Confusion.from_predictions(names, said)
    np.testing.assert_array_equal(found.counts, confusion_matrix(names, said))
    shown = cells(draw_confusion(found))
    assert shown == {(row, column): n for (row, column), n in np.ndenumerate(found.counts) if n}


def test_one_reference_votes_as_in_scikit_learn():
    vectors, labels = random_vectors(7, 12)
    others, known = random_vectors(7, 5, seed=1)
    unit = [each / np.linalg.norm(each, axis=1, keepdims=True) for each in (vectors, others)]
    peer = KNeighborsClassifier(1).fit(unit[1], known).predict(unit[0])
    np.testing.assert_array_equal(predict_classes(vectors, labels, others, known, k=1), peer)


@pytest.mark.parametrize("k", [1, 3, 8])
def test_the_share_taken_rightly_is_the_metric(k):
    vectors, labels = random_vectors(9, 7)
    rows, scores = nearest_neighbours(vectors, k)
    totals = np.full(len(labels), 6)
    metric = knn_at(Neighbours(rows, labels[rows], scores, labels, totals, len(labels)), k)
    assert (predict_classes(vectors, labels, k=k) == labels).mean() == pytest.approx(metric.mean())


def test_the_vote_weighs_similarity():
    references = np.array([[1.0, 0], [0, 1], [0.05, 1]])
    assert predict_classes(np.array([[1.0, 0.2]]), None, references, np.array([1, 2, 2]), k=3).tolist() == [1]


def test_labels_of_64_bits_stay_apart():
    low, high = 2**63 - 2, 2**63 - 1
    found = Confusion.from_predictions(np.array([low, high]), np.array([high, high], np.uint64))
    assert found.names.tolist() == [low, high]
    assert found.counts.tolist() == [[0, 1], [0, 1]]


def test_of_many_classes_the_largest_confusions_are_shown_and_rows_add_up():
    vectors, labels = random_vectors(500, 4)
    found = Confusion.from_predictions(labels, predict_classes(vectors, labels, k=3))
    chosen = found.most_confused(30)
    assert 28 <= len(chosen) <= 30 and len(set(chosen.tolist())) == len(chosen)
    wrong = found.counts - np.diag(np.diag(found.counts))
    assert wrong[np.ix_(chosen, chosen)].max() == wrong.max()
    figure = draw_confusion(found, limit=30)
    sums = np.zeros(len(chosen), int)
    for (row, _), count in cells(figure).items():
        sums[row] += count
    np.testing.assert_array_equal(sums, found.counts[chosen].sum(axis=1))
    check_readable(figure)


@pytest.mark.parametrize(("classes", "each"), [(1, 2), (2, 600), (5, 5), (30, 4), (31, 3)])
def test_names_and_counts_can_be_read(classes, each):
    vectors, labels = random_vectors(classes, each)
    check_readable(confusion(vectors, np.array([f"{LONG} {label}" for label in labels])))


def test_nothing_confused_is_said():
    figure = draw_confusion(Confusion(np.arange(40), 3 * np.eye(40, dtype=int)), limit=30)
    assert "None of 40 classes" in " ".join(text.get_text() for text in figure.texts)
    check_readable(figure)


def test_references_of_another_model_are_refused():
    with pytest.raises(ValueError, match="embed both with one model"):
        predict_classes(np.eye(3), np.arange(3), np.eye(2), np.arange(2))
    with pytest.raises(ValueError, match="a label for each"):
        predict_classes(np.eye(3), np.arange(3), np.eye(3))
