"""That `lookalike search picture=` writes a picture, and refuses what is none."""

import numpy as np
import pytest
from PIL import Image

from lookalike.cli._search_picture import check_picture, write_picture
from lookalike.errors import ConfigError
from lookalike.search.hits import Hit


def test_photos_and_hits_are_drawn_even_if_one_is_gone(tmp_path):
    file = tmp_path / "a photo.png"
    Image.new("RGB", (40, 30), "red").save(file)
    hits = [Hit(str(file), "red", 0.9, 0), Hit(str(tmp_path / "gone.png"), "gone", 0.2, 1)]
    for ending in ("png", "jpg", "webp"):
        out = tmp_path / "new" / f"hits.{ending}"
        write_picture(out, [(file, hits), (file, [])], 0.5, side=64)
        assert Image.open(out).size == Image.open(tmp_path / "new" / "hits.png").size
    red = (np.asarray(Image.open(tmp_path / "new" / "hits.png")) == (255, 0, 0)).all(axis=2)
    assert red.sum() > 3 * 64 * 40


@pytest.mark.parametrize("name", ["hits.txt", "hits", "hits.svg"])
def test_a_file_that_is_no_picture_is_refused_before_the_search(tmp_path, name):
    with pytest.raises(ConfigError, match=r"\.png"):
        check_picture(tmp_path / name)
