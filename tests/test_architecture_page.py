"""What docs/architecture.md names exists."""

import re
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "lookalike"
TEXT = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
FILES = sorted({name for name in re.findall(r"`([\w/]+\.py)`", TEXT) if "foo" not in name})
NAMES = {
    "fit": "training.loop",
    "Stage": "training.stage",
    "Training": "training.state",
    "PairLoss.pairs": "losses",
    "ProxyLoss.classes": "losses",
    "ImageTable": "data.images",
    "Resize": "data.transforms",
    "EmbeddingModel.features": "model.embedder",
    "evaluate": "evaluation.evaluate",
    "recall_at": "metrics.retrieval",
}


@pytest.mark.parametrize("name", FILES)
def test_named_file_exists(name):
    assert any((folder / name).is_file() for folder in (PACKAGE, PACKAGE.parent, ROOT))


@pytest.mark.parametrize("name", NAMES)
def test_named_function_or_class_is_there(name):
    assert name.split(".")[0] in TEXT
    thing = import_module(f"lookalike.{NAMES[name]}")
    for part in name.split("."):
        thing = getattr(thing, part)


def test_every_package_is_described():
    described = set(
        re.findall(r"`(\w+)`", TEXT.partition("## Packages and layers")[2].partition("## How one")[0])
    )
    packages = {
        path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert packages - described <= {"__init__", "__main__", "samplers"}
