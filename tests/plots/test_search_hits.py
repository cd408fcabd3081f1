import numpy as np
import pytest
from looks import readable_pictures
from PIL import Image, ImageColor

from lookalike.plots.search_hits import Looked, search_picture
from lookalike.plots.style import DIFFERENT, SAME

SQUARE = Image.new("RGB", (30, 20), "white")
HITS = [(SQUARE, "W" * 60, 0.9), (SQUARE, "short", 0.2)]


def count(picture, colour):
    return int((np.asarray(picture) == ImageColor.getrgb(colour)).all(axis=2).sum())


def test_likely_and_unlikely_hits_differ():
    with readable_pictures():
        both = search_picture([Looked("a rather long name of a photo.jpg", SQUARE, HITS, True)], 0.5)
    none = search_picture([Looked("a.jpg", SQUARE, HITS, False)], 0.95)
    unknown = search_picture([Looked("a.jpg", SQUARE, HITS)])
    assert count(both, SAME) and count(both, DIFFERENT)
    assert not count(none, SAME) and count(none, DIFFERENT)
    assert not count(unknown, SAME) and not count(unknown, DIFFERENT)


@pytest.mark.parametrize("hits", [[], HITS[:1], HITS * 5])
def test_any_number_of_photos_and_hits(hits):
    looked = [Looked(f"{n}.jpg", SQUARE, hits, bool(n)) for n in range(3)]
    assert search_picture(looked, 0.5).height > search_picture(looked[:1], 0.5).height
    with pytest.raises(ValueError, match="gallery"):
        search_picture([])
