import numpy as np
import pytest
from PIL import Image

from lookalike.detect import Detection
from lookalike.detect.cropping import Boxes, Crops, select_detections, whole_image_square
from lookalike.detect.detection import suppress_overlapping

SMALL = Detection((45, 45, 55, 55), 0.9)
LARGE = Detection((0, 0, 30, 30), 0.6)
WIDE = Detection((60, 60, 95, 80), 0.7)


def test_which_of_several():
    area = (0, 0, 100, 100)
    assert select_detections([SMALL, LARGE, WIDE], "largest", area) == [LARGE]
    assert select_detections([SMALL, LARGE, WIDE], "central", area) == [SMALL]
    assert select_detections([SMALL, LARGE, WIDE], "all", area) == [LARGE, WIDE, SMALL]
    assert select_detections([], "central", area) == []
    assert select_detections([SMALL, LARGE], "central", (0, 0, 20, 20)) == [LARGE]


def test_of_overlapping_ones_the_surest_stays():
    shifted = Detection((46, 45, 56, 55), 0.5)
    assert suppress_overlapping([shifted, LARGE, SMALL], 0.3) == [SMALL, LARGE]
    assert suppress_overlapping([], 0.3) == []


def test_a_part_of_a_picture_is_searched_alone():
    image = Image.fromarray(np.arange(100 * 80, dtype=np.uint16).astype(np.uint8).reshape(100, 80)).convert(
        "RGB"
    )
    seen = []

    def detector(pixels):
        seen.append(pixels)
        return [Detection((1, 2, 11, 12), landmarks=np.array([[3.0, 4.0], [8.0, 4.0]]))]

    (one,) = Crops(detector).find(image, (20, 30, 60, 90))
    np.testing.assert_array_equal(seen[0], np.asarray(image)[30:90, 20:60])
    assert one.box == (21, 32, 31, 42)
    np.testing.assert_array_equal(one.landmarks, [[23, 34], [28, 34]])


def test_boxes_are_taken_as_they_are():
    image = Image.new("RGB", (60, 40), "white")
    (one,) = Boxes().find(image, (10, 10, 30, 20))
    crop = np.asarray(Boxes(size=20).crop(image, one))
    assert (crop == 255).all(), "the square around a flat box shows what is there"
    assert Boxes().find(image, None) == []
    corner = np.asarray(Boxes(size=20, margin=0.5).crop(image, Detection((0, 0, 10, 10))))
    assert not corner[:4].any()
    assert (corner[6:, 6:] == 255).all()


def test_whole_pictures_get_black_bars():
    bars = np.asarray(whole_image_square(Image.new("RGB", (60, 20), "white"), None, 30))
    assert bars.shape == (30, 30, 3)
    assert not bars[:9].any()
    assert (bars[11:19] == 255).all()


@pytest.mark.parametrize("box", [(5, 5, 5, 9), (9, 1, 3, 4), (0, 0, np.nan, 4), (0, 0, np.inf, 4)])
def test_boxes_that_are_none(box):
    with pytest.raises(ValueError, match="must be finite"):
        Detection(box)


@pytest.mark.parametrize("points", [[[1, 2]], [1, 2, 3, 4], [[1, 2], [3, np.nan]]])
def test_landmarks_that_are_none(points):
    with pytest.raises(ValueError, match="landmarks of shape"):
        Detection((0, 0, 1, 1), landmarks=np.array(points))


@pytest.mark.parametrize("eyes", [(0.5, 0.4), (-0.1, 0.4), (0.3, 1.2)])
def test_eyes_outside(eyes):
    with pytest.raises(ValueError, match="left eye"):
        Crops(lambda image: [], eyes=eyes)
