"""Image files, models and archives from strangers."""

import io

import pytest

from lookalike.data.decode import open_image
from lookalike.data.pixels import open_pixels
from lookalike.errors import ImageError
from trust import images, models


def test_damaged_images_are_read_or_refused_and_shift_nothing(tmp_path):
    figure = images.measure_mutants(tmp_path, 360)
    assert figure.passes, figure.problems


def test_bombs_are_refused_by_their_header(tmp_path):
    figure = images.measure_bombs(tmp_path, 30)
    assert figure.passes, figure.problems


def test_a_jpeg_with_more_pixels_than_its_bytes_can_hold_is_refused(tmp_path):
    data = images.jpeg_of_size(4000, 3000)
    for read in (open_image, lambda stream: open_pixels(stream, lambda size: (None, None))):
        with pytest.raises(ImageError, match=r"declares 12,000,000 pixels, more than .* bytes can hold"):
            read(io.BytesIO(data))


def test_hostile_models_run_no_code_and_are_refused_by_name(tmp_path):
    figure = models.measure_models(tmp_path, 200)
    assert figure.passes, figure.problems
