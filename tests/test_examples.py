"""The scripts in examples/ run on a small folder of photos."""

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "examples"
SMALL = ["--backbone", "small_cnn", "--size", "32", "--epochs", "1"]
ARGUMENTS = {
    "custom_loop.py": ["--epochs", "1", "--size", "32"],
    "paper_protocol.py": SMALL,
    "shelter.py": SMALL,
}
PRINTED = {
    "custom_loop.py": ["map@r", "95 % interval"],
    "paper_protocol.py": ["recall@8", "map@r", "multi_similarity"],
    "shelter.py": ["looks most like", "similarity"],
}


def run(script, *words):
    command = [sys.executable, FOLDER / script, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)


def test_every_example_is_run_and_listed():
    scripts = {file.name for file in FOLDER.glob("*.py")}
    assert scripts == set(ARGUMENTS)
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in readme for name in scripts)


@pytest.mark.slow
@pytest.mark.parametrize("script", ARGUMENTS)
def test_example_runs(script, shapes_folder, tmp_path):
    out = [] if script == "custom_loop.py" else ["--out", tmp_path / "out"]
    done = run(script, "--photos", shapes_folder, *out, *ARGUMENTS[script])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Warning" not in done.stderr, done.stderr
    for word in PRINTED[script]:
        assert word in done.stdout, done.stdout
