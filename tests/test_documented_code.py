"""The Python code in the README and the docs runs, page by page, in folders named as in the pages."""

import re
import shutil
from pathlib import Path

import polars as pl
import pytest
import torch
from PIL import Image

import lookalike
from lookalike.cli.main import main as run_job

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.M | re.S)
QUICK = {"progress": False, "device": "cpu"}
SMALL = {"backbone": "small_cnn", "image_size": 32, "dim": 16}
BLOCKS = {
    page.relative_to(ROOT).as_posix(): blocks
    for page in PAGES
    if (blocks := list(BLOCK.finditer(page.read_text(encoding="utf-8"))))
}


def job(*words):
    assert run_job([*words, "progress=false"]) == 0, words


@pytest.fixture(scope="module")
def user_folder(tmp_path_factory, shapes_folder):
    """What the workflow of the README leaves: a dataset, a run, vectors, an index; and some photos."""
    folder = tmp_path_factory.mktemp("user")
    shutil.copytree(shapes_folder, folder / "photos")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        job("prepare", "source.root=photos", "out=data/mine")
        lookalike.train("data/mine", "runs/mine", epochs=1, **SMALL, **QUICK)
        job("embed", "model=runs/mine/model", "dataset=data/mine", "split=test", "out=emb/mine")
        job("index", "embeddings=emb/mine", "out=index/mine")
    shutil.copytree(folder / "runs" / "mine", folder / "demo" / "run")
    for name, photo in zip(("a", "b", "photo"), sorted(shapes_folder.rglob("*.png")), strict=False):
        Image.open(photo).save(folder / f"{name}.jpg")
    return folder


def given_names(page):
    """The names that the code of a page uses without making them, as its text introduces them."""
    model = lookalike.load("runs/mine")
    images, labels = torch.rand(8, 3, 32, 32), torch.arange(8) % 2
    image = Image.open("a.jpg")
    names = {
        "lookalike": lookalike,
        "model": model,
        "images": images,
        "labels": labels,
        "embeddings": torch.randn(8, 128, requires_grad=True),
        "vectors": torch.randn(8, 16),
        "image": image,
        "query": image,
    }
    if page == "docs/evaluate.md":
        saved = lookalike.Embeddings.load("emb/mine")
        camera = pl.Series("camera", [str(row % 2) for row in range(len(saved))])
        frame = saved.table.frame.with_columns(camera, camera.alias("group"))
        table = lookalike.Table(frame, saved.table.folder)
        names["embeddings"] = lookalike.Embeddings(saved.vectors, table, saved.space)
    if page == "docs/distillation.md":
        names["student"] = torch.nn.Module()
        names["student"].features = lambda images: torch.randn(len(images), 64, requires_grad=True)
        names["teacher"] = lambda images: torch.nn.functional.normalize(torch.randn(len(images), 512))
    return names


@pytest.mark.slow
@pytest.mark.parametrize("page", BLOCKS)
def test_python_code_of_the_docs_runs(page, user_folder, tmp_path, monkeypatch):
    shutil.copytree(user_folder, tmp_path / "user")
    monkeypatch.chdir(tmp_path / "user")
    train = lookalike.train

    def train_small(*args, **keys):
        """As written, but a small network, one epoch and one process; other tests train with more."""
        network = {} if "model" in keys else SMALL
        return train(*args, **{**keys, **network, **QUICK, "epochs": 1, "processes": 1})

    monkeypatch.setattr(lookalike, "train", train_small, raising=False)
    names = given_names(page)
    if any("lookalike.train(" in block[1] for block in BLOCKS[page]):
        shutil.rmtree("runs")
    for block in BLOCKS[page]:
        line = block.string.count("\n", 0, block.start(1))
        exec(compile("\n" * line + block[1], str(ROOT / page), "exec"), names)


def test_there_are_many_pages_with_code():
    assert len(BLOCKS) > 8
