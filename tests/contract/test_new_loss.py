"""A new loss costs one file and one yaml, and a page that lists all losses is up to date."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import lookalike

ROOT = Path(__file__).parents[2]
CODE = '''"""A toy."""

from torch import Tensor

from lookalike.errors import check_finite
from lookalike.losses._base import PairLoss, mean_over


class Toy(PairLoss):
    """Pull positives together, push negatives apart."""

    def __init__(self, push: float = 0.5) -> None:
        check_finite("Toy", push=push)
        super().__init__()
        self.push = push

    def pairs(self, sim: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """Scalar loss of the pairs."""
        return mean_over(1 - sim, positive) + self.push * mean_over(1 + sim, negative)
'''
YAML = """# Pulls and pushes all pairs alike.
# Data: several images of each class
toy:
  weight: 1.0  # how much this loss counts in the sum
  _target_: lookalike.losses.toy.Toy  # the class to build
  push: 0.5  # how much negatives count
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> dict[str, str]:
    """A copy of the package with the two files added."""
    folder = tmp_path_factory.mktemp("copy")
    ignored = shutil.ignore_patterns("__pycache__", "sample")
    package = Path(shutil.copytree(Path(lookalike.__file__).parent, folder / "lookalike", ignore=ignored))
    (package / "losses" / "toy.py").write_text(CODE)
    (package / "conf" / "loss" / "toy.yaml").write_text(YAML)
    return {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}


def ran(environment, *command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", *command],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


JOBS = """
import sys
from lookalike.cli.main import main

for words in sys.argv[1].splitlines():
    if main(words.split(";")):
        sys.exit(1)
"""
"""One process for all of them: each would take seconds to load torch."""


@pytest.mark.slow
def test_a_new_loss_is_one_file_and_one_yaml(environment, shapes_folder, tmp_path):
    small = ["backbone=small_cnn", "image_size=28", "epochs=1", "dim=8", "loss.toy.push=0.7"]
    sampler = ["sampler.classes_per_batch=4", "sampler.samples_per_class=4", "progress=false"]
    keys = [f"dataset={tmp_path / 'set'}", f"out={tmp_path / 'run'}", *small, *sampler]
    jobs = [
        ["train", "--help"],
        ["train", "loss=toy", "--help"],
        ["prepare", "source=folder", f"source.root={shapes_folder}", f"out={tmp_path / 'set'}"],
        ["train", "loss=toy", *keys],
    ]
    printed = ran(environment, JOBS, "\n".join(";".join(words) for words in jobs))
    assert "toy" in printed.partition("How much negatives count")[0]
    assert "How much negatives count" in printed
    assert (tmp_path / "run" / "model" / "config.json").exists()


@pytest.mark.slow
def test_the_contract_tests_find_it_by_themselves(environment):
    words = ["tests/contract/test_losses.py", "-q", "-k", "toy", "-p", "no:cacheprovider"]
    told = ran(environment, f"import pytest; raise SystemExit(pytest.main({words}))")
    assert "failed" not in told
    assert int(told.splitlines()[-1].split()[0]) > 20


def test_the_page_of_losses_is_up_to_date():
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        import make_losses
    finally:
        sys.path.pop(0)
    assert make_losses.page() == make_losses.PAGE.read_text(encoding="utf-8"), "run `make docs`"
