import json

import numpy as np
import polars as pl
import pytest

from lookalike.data.table import Table
from lookalike.errors import LookalikeError
from lookalike.search.index import Index


@pytest.fixture
def index(tmp_path):
    frame = pl.DataFrame({"path": ["a.png", "/far/b.png"], "label": ["007", "é"], "split": ["test", "test"]})
    return Index(np.eye(2, dtype=np.float32), Table(frame, tmp_path / "photos"), "space", tmp_path / "model")


def test_comes_back_as_it_was(index, tmp_path):
    index.save(tmp_path / "deep" / "index", {"job": "index"})
    found = Index.load(tmp_path / "deep" / "index")
    assert (found.vectors == index.vectors).all()
    assert isinstance(found.vectors, np.memmap)
    assert (found.space, found.model.resolve()) == ("space", (tmp_path / "model").resolve())
    assert found.table.labels.tolist() == ["007", "é"]
    assert found.table.file(0).resolve() == (tmp_path / "photos" / "a.png").resolve()
    assert str(found.table.file(1)) == "/far/b.png"
    facts = json.loads((tmp_path / "deep" / "index" / "index.json").read_text())
    assert facts == {"engine": "exact", "space": "space", "dim": 2, "count": 2, "model": "../../model"}
    assert (tmp_path / "deep" / "index" / "config.yaml").read_text() == "job: index\n"


def test_survives_a_move_of_everything_together(index, tmp_path):
    index.save(tmp_path / "one" / "index")
    (tmp_path / "one").rename(tmp_path / "two")
    found = Index.load(tmp_path / "two" / "index")
    assert found.table.file(0).resolve() == (tmp_path / "photos" / "a.png").resolve()


def test_an_existing_folder_is_refused_and_left_alone(index, tmp_path):
    (tmp_path / "index").mkdir()
    (tmp_path / "index" / "mine.txt").write_text("x")
    with pytest.raises(LookalikeError, match="exists"):
        index.save(tmp_path / "index")
    assert [file.name for file in (tmp_path / "index").iterdir()] == ["mine.txt"]


def test_a_failed_write_leaves_nothing(index, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pl.DataFrame, "write_parquet", full)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(OSError, match="No space"):
        index.save(tmp_path / "index")
    assert sorted(tmp_path.iterdir()) == before


def test_other_folders_are_refused_in_plain_words(index, tmp_path):
    with pytest.raises(LookalikeError, match=r"no index\.json.*`lookalike index` makes one"):
        Index.load(tmp_path)
    index.save(tmp_path / "index")
    (tmp_path / "index" / "vectors.npy").write_bytes(b"")
    with pytest.raises(LookalikeError, match="cannot be read"):
        Index.load(tmp_path / "index")
    np.save(tmp_path / "index" / "vectors.npy", np.zeros((3, 2), np.float32))
    with pytest.raises(LookalikeError, match=r"vectors \[3, 2\] for a table of 2 rows"):
        Index.load(tmp_path / "index")
