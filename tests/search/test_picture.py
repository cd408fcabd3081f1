"""That the picture of a search is written, and other files are refused."""

import numpy as np
import pytest
from PIL import Image

from lookalike.errors import ConfigError
from lookalike.search.hits import Hit, Hits
from lookalike.search.picture import MAX_PHOTOS, check_picture, write_picture


def test_photos_and_hits_are_drawn_even_if_one_is_gone(tmp_path):
    file = tmp_path / "a photo.png"
    Image.new("RGB", (40, 30), "red").save(file)
    hits = [Hit(str(file), "red", 0.9, 0, None, True), Hit(str(tmp_path / "gone.png"), "gone", 0.2, 1)]
    results = [Hits(hits, query=str(file), threshold=0.5), Hits(query=str(file), threshold=0.5)]
    for ending in ("png", "jpg", "webp"):
        out = tmp_path / "new" / f"hits.{ending}"
        write_picture(out, results, side=64)
        assert Image.open(out).size == Image.open(tmp_path / "new" / "hits.png").size
    red = (np.asarray(Image.open(tmp_path / "new" / "hits.png")) == (255, 0, 0)).all(axis=2)
    assert red.sum() > 3 * 64 * 40


@pytest.mark.parametrize("name", ["hits.txt", "hits", "hits.svg"])
def test_other_files_are_refused_before_the_search(tmp_path, name):
    with pytest.raises(ConfigError, match=r"\.png"):
        check_picture(tmp_path / name)


def test_more_photos_than_fit_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="201 photos"):
        write_picture(tmp_path / "hits.png", [Hits()] * (MAX_PHOTOS + 1))
    assert not (tmp_path / "hits.png").exists()
