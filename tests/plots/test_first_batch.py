import numpy as np
import pytest

from lookalike.plots.first_batch import MAX_IMAGES, first_batch, rows_by_class


def flat(*values, side=28):
    return np.stack([np.full((side, side, 3), value, np.uint8) for value in values])


def extent_of_grey(picture, value):
    """Where pixels of this grey are: left, top, right, bottom."""
    rows, columns = np.nonzero((np.asarray(picture) == value).all(axis=2))
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def test_images_of_a_class_stand_in_a_row_whatever_their_order():
    picture = first_batch(flat(10, 60, 20, 70), ["a", "b", "a", "b"])
    boxes = {value: extent_of_grey(picture, value) for value in (10, 20, 60, 70)}
    assert boxes[10][1] == boxes[20][1]
    assert boxes[60][1] == boxes[70][1]
    assert 0 < boxes[20][0] - boxes[10][2] < 5
    assert 0 < boxes[70][0] - boxes[60][2] < 5


def test_small_images_grow_by_whole_pixels():
    image = np.random.default_rng(0).integers(0, 255, (1, 28, 28, 3), np.uint8)
    picture = np.asarray(first_batch(image, ["x"]))
    grown = image[0].repeat(3, axis=0).repeat(3, axis=1)
    spots = np.argwhere((picture == grown[0, 0]).all(axis=2))
    assert any((picture[y : y + 84, x : x + 84] == grown).all() for y, x in spots if y + 84 <= len(picture))


def test_large_images_and_batches_are_cut_down():
    picture = first_batch(np.zeros((300, 224, 224, 3), np.uint8), [n // 4 for n in range(300)])
    assert picture.width < 2500
    assert picture.height < 2500
    groups = rows_by_class([n // 4 for n in range(300)])
    assert sum(len(rows) for _, rows in groups) == MAX_IMAGES
    assert groups[0] == ("0", [0, 1, 2, 3])


@pytest.mark.parametrize("label", ["", "日本語の猫", "😀 smile", "x" * 500, "a\nb\tc", 2**63 - 1, "$x^2$"])
def test_any_name_will_do(label):
    picture = first_batch(flat(10, 20, 30), [label, label, "b"], "First training batch")
    assert picture.height > 100


def test_one_class_and_many_classes_have_a_shape_that_fits_a_screen():
    for labels in (["a"] * 40, list(range(64)), [n // 4 for n in range(96)]):
        picture = first_batch(np.zeros((len(labels), 96, 96, 3), np.uint8), labels)
        assert 0.7 < picture.width / picture.height < 2.5


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(ValueError, match="0 images"):
        first_batch(np.zeros((0, 8, 8, 3), np.uint8), [])
    with pytest.raises(ValueError, match="2 images with 1 labels"):
        first_batch(flat(1, 2), ["a"])
