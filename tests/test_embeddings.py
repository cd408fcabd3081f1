import numpy as np
import polars as pl
import pytest
import torch

from lookalike.data.table import Table
from lookalike.data.transforms import Resize
from lookalike.embeddings import Embeddings, embed
from lookalike.errors import DataError, LookalikeError, Problem


class Mean(torch.nn.Module):
    """A stand-in whose vector is the mean colour, so that every image is known by its vector."""

    dim, space, device = 3, "mean", torch.device("cpu")

    def transform(self):
        return Resize(8)

    def forward(self, images):
        assert not self.training
        return torch.nn.functional.normalize(images.float().mean(dim=(2, 3)), dim=1)


@pytest.fixture
def table(shapes, tmp_path):
    folder = shapes(tmp_path / "photos", classes=4, per_class=3)
    files = sorted(folder.rglob("*.png"))
    rows = {
        "path": [str(file.relative_to(folder)) for file in files],
        "label": [2**62 + int(file.stem) for file in files],
        "split": "test",
    }
    return Table(pl.DataFrame(rows), folder)


@pytest.mark.parametrize("workers", [0, 1])
def test_rows_come_in_the_order_of_the_table(table, workers):
    whole = embed(Mean(), table, batch_size=5, workers=workers, progress=False)
    for row in range(len(table)):
        alone = embed(Mean(), table.take([row]), progress=False)
        assert whole.vectors[row] == pytest.approx(alone.vectors[0])
    assert np.linalg.norm(whole.vectors, axis=1) == pytest.approx(np.ones(12))


def test_unreadable_images_are_absent_and_listed_and_shift_nothing(table):
    whole = embed(Mean(), table, progress=False)
    table.file(0).write_bytes(b"")
    table.file(7).write_text("no picture")
    table.file(11).unlink()
    found = embed(Mean(), table, batch_size=1, progress=False)
    kept = [1, 2, 3, 4, 5, 6, 8, 9, 10]
    assert found.vectors == pytest.approx(whole.vectors[kept])
    assert found.table.frame["path"].to_list() == table.frame["path"][kept].to_list()
    assert [problem.row for problem in found.skipped] == [0, 7, 11]


def test_no_readable_image_is_an_error_that_lists_them(table):
    for row in range(len(table)):
        table.file(row).write_bytes(b"")
    with pytest.raises(DataError, match="none of the 12 images can be read") as raised:
        embed(Mean(), table, progress=False)
    assert len(raised.value.problems) == 12


def test_the_mode_of_the_model_stays_as_it_was(table):
    model = Mean().train()
    embed(model, table, progress=False)
    assert model.training
    embed(model.eval(), table, progress=False)
    assert not model.training


def test_a_folder_comes_back_as_it_was(table, tmp_path):
    found = embed(Mean(), table, progress=False, folder=tmp_path / "model")
    found = Embeddings(found.vectors, found.table, found.space, [Problem("é.png", "a, b", 3)], found.model)
    found.save(tmp_path / "emb" / "mine", {"job": "embed"})
    again = Embeddings.load(tmp_path / "emb" / "mine")
    assert (again.vectors == found.vectors).all()
    assert isinstance(again.vectors, np.memmap)
    assert again.table.labels.tolist() == table.labels.tolist()
    assert [again.table.file(row).resolve() for row in range(12)] == [
        table.file(row).resolve() for row in range(12)
    ]
    assert (again.space, again.skipped) == ("mean", found.skipped)
    assert again.model.resolve() == (tmp_path / "model").resolve()
    assert (tmp_path / "emb" / "mine" / "config.yaml").read_text() == "job: embed\n"


def test_an_existing_folder_is_refused(table, tmp_path):
    found = embed(Mean(), table, progress=False)
    found.save(tmp_path / "emb")
    with pytest.raises(LookalikeError, match="exists"):
        found.save(tmp_path / "emb")


def test_a_failed_write_leaves_nothing(table, tmp_path, monkeypatch):
    found = embed(Mean(), table, progress=False)
    monkeypatch.setattr(
        pl.DataFrame, "write_parquet", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left"))
    )
    before = sorted(tmp_path.iterdir())
    with pytest.raises(OSError, match="No space"):
        found.save(tmp_path / "emb")
    assert sorted(tmp_path.iterdir()) == before


def test_other_folders_are_refused(tmp_path):
    with pytest.raises(LookalikeError, match=r"no space\.json.*`lookalike embed` makes one"):
        Embeddings.load(tmp_path)


def test_vectors_must_fit_the_table(table):
    with pytest.raises(ValueError, match=r"\[2, 3\] do not fit a table of 12 rows"):
        Embeddings(np.zeros((2, 3), np.float32), table, "mean")
