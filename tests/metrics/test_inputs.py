import numpy as np
import polars as pl
import pytest
import torch

from lookalike.metrics.inputs import factorise, unit_vectors


def test_vectors_get_length_one_whatever_their_type():
    rows = [[3.0, 4.0], [0.0, -2.0]]
    for given in (rows, np.array(rows), torch.tensor(rows).bfloat16(), np.array(rows, np.int64)):
        assert np.allclose(unit_vectors(given), [[0.6, 0.8], [0, -1]])
    assert unit_vectors(rows).dtype == np.float32


def test_very_large_and_very_small_values_do_not_overflow():
    found = unit_vectors(np.array([[1e200, 1e200], [3e-200, 4e-200]]))
    assert np.allclose(found, [[0.5**0.5, 0.5**0.5], [0.6, 0.8]])


def test_the_input_is_left_as_it_was():
    rows = np.array([[3.0, 4.0]], np.float32)
    unit_vectors(rows)
    assert rows.tolist() == [[3.0, 4.0]]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_rows_that_are_not_finite_are_named(bad):
    vectors = np.ones((10_000, 2))
    vectors[7, 1] = vectors[9_999, 0] = bad
    with pytest.raises(ValueError, match=r"not finite.* rows 7, 9999"):
        unit_vectors(vectors)


def test_zero_rows_are_named():
    with pytest.raises(ValueError, match=r"zero.* row 1$"):
        unit_vectors([[1.0, 0.0], [0.0, 0.0]])


@pytest.mark.parametrize("wrong", [[1.0, 2.0], [[[1.0]]], [["a"]], [[1.0], [1.0, 2.0]], np.empty((3, 0))])
def test_what_is_no_matrix_is_refused(wrong):
    with pytest.raises(ValueError, match="vectors"):
        unit_vectors(wrong)


@pytest.mark.parametrize(
    "labels",
    [
        ["b", "a", "b"],
        np.array(["b", "a", "b"]),
        np.array(["b", "a", "b"], dtype=object),
        pl.Series(["b", "a", "b"]),
        [2**63 + 1, 2**63, 2**63 + 1],
        np.array([2**64 - 1, 2**64 - 2, 2**64 - 1], np.uint64),
        np.array([2**53 + 1, 2**53, 2**53 + 1]),
        torch.tensor([2**62 + 1, 2**62, 2**62 + 1]),
        [2**63, -1, 2**63],
        [True, False, True],
    ],
)
def test_labels_that_differ_stay_apart(labels):
    names, codes = factorise(labels)
    assert codes.tolist() == [1, 0, 1]
    assert len(names) == 2


def test_text_that_looks_like_numbers_stays_text():
    names, _ = factorise(["007", "7", "7.0"])
    assert names.tolist() == ["007", "7", "7.0"]


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([1.0, 2.0], "got float"),
        (np.array([1.0, 2.0]), "floats merge large ids"),
        ([1, "1"], "int, str"),
        (["a", None], "missing in row 1"),
        (np.array([[1], [2]]), "integers or strings"),
        (["a"], "1 of them for 2 vectors"),
    ],
)
def test_labels_that_cannot_be_compared_are_refused(labels, said):
    with pytest.raises(ValueError, match=said):
        factorise(labels, 2)
