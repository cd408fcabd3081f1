import pickle

import numpy as np
import polars as pl
from PIL import Image

from lookalike.data.images import ImageTable, collate
from lookalike.data.memory_cache import MemoryCache
from lookalike.data.table import Table
from lookalike.data.transforms import to_tensor


def test_a_copy_in_another_process_has_the_same_attributes_and_starts_empty():
    cache = MemoryCache(4, room=4 * 3 * 8 * 8)
    picture = np.full((8, 8, 3), 7, np.uint8)
    cache.store(2, picture)
    cache.commit()
    np.testing.assert_array_equal(cache.get(2), picture)
    copy = pickle.loads(pickle.dumps(cache))
    assert copy.fits(8, 8) and not copy.fits(9, 8)
    assert copy.get(2) is None
    copy.store(2, picture)
    copy.commit()
    assert copy.get(2) is None


def test_workers_that_are_not_forked_read_the_same_images(tmp_path):
    Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3)).save(tmp_path / "a.png")
    table = Table(pl.DataFrame({"path": ["a.png"], "label": ["a"], "split": ["train"]}), tmp_path)
    images = ImageTable(table, to_tensor, seed=0)
    copy = pickle.loads(pickle.dumps(images))
    here, there = (collate(each.__getitems__([0, 0])) for each in (images, copy))
    assert len(here.images) == 2 and there.images.equal(here.images)
