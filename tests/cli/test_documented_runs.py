"""The commands of the README and of the help, run on small data in the order in which data flows."""

import contextlib
import io
import os
import re
import shlex
import shutil
from pathlib import Path

import pytest
from PIL import Image

from lookalike import cli
from lookalike.cli import demo, main

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
BLOCKS = [part.partition("\n")[2] for part in README.split("```")[1::2]]
WORKFLOW = [
    shlex.split(line)[1:]
    for block in BLOCKS
    for line in block.splitlines()
    if re.match(r"lookalike (prepare|train|evaluate|report|index|search) ", line)
]
SMALL = {
    "train": ["backbone=small_cnn", "epochs=1", "image_size=32", "dim=16", "val_share=0.3"],
}
"""What makes a documented command quick."""
EXAMPLES = [
    *("prepare-split", "prepare-filter", "prepare-merge", "prepare-shards", "prepare-stats", "prepare-sheet"),
    *("preview", "recipes", "embed", "compare", "plot", "verify", "export", "info", "identify", "clean"),
    *("cluster", "align-text", "index-health"),
]
"""Jobs whose example in the help runs after the workflow of the README."""
NEEDS_MORE = {
    **dict.fromkeys(("prepare-fetch", "push", "pull"), "a server"),
    **dict.fromkeys(("enrol", "forget", "decide"), "an index that changes; run in test_registry.py"),
    "explore": "a browser",
    "serve": "a port; run in tests/serve",
    "demo": "minutes",
    "check-loss": "minutes",
}
CODES = {"verify": {0, 3, 4}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Photos of 40 identities, and what the examples take for given."""
    root = tmp_path_factory.mktemp("documented")
    for identity in sorted(demo.SAMPLE.iterdir())[:40]:
        (root / "photos" / identity.name).mkdir(parents=True)
        for file in sorted(identity.glob("*.png"))[:4]:
            shutil.copy(file, root / "photos" / identity.name)
    photo = Image.open(next((root / "photos").glob("*/*.png"))).convert("RGB")
    for name in ("photo.jpg", "a.jpg", "b.jpg"):
        photo.save(root / name)
    before = Path.cwd()
    os.chdir(root)
    yield root
    os.chdir(before)
    main.log.handlers.clear()


@pytest.fixture(scope="module")
def outputs(folder):
    """What each command of the workflow prints; a fixture, since workers share these tests."""
    return [run(words) for words in WORKFLOW]


def run(words):
    job, *arguments = cli.about_job(words)
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main.main([job, *arguments, *SMALL.get(job, [])])
    assert code in CODES.get(job, {0}), f"lookalike {' '.join(words)}: {err.getvalue()}"
    assert "Traceback" not in err.getvalue()
    return out.getvalue()


def test_the_workflow_of_the_readme_runs(folder, outputs):
    assert [words[0] for words in WORKFLOW] == ["prepare", "train", "evaluate", "report", "index", "search"]
    assert (folder / "runs" / "mine" / "report.html").is_file()
    assert len(re.findall(r"\.png", outputs[-1])) == 5


def test_every_job_is_run_or_says_what_it_lacks():
    run_by_readme = {words[0] for words in WORKFLOW}
    assert {*EXAMPLES, *NEEDS_MORE, *run_by_readme} == set(cli.JOBS)


@pytest.mark.parametrize("job", EXAMPLES)
def test_the_example_of_the_help_runs(job, folder, outputs):
    if job == "prepare-merge":
        for name, end in (("a", 12), ("b", 24)):
            some = sorted((folder / "photos").iterdir())[end - 12 : end]
            for identity in some:
                shutil.copytree(identity, folder / f"photos_{name}" / identity.name)
            run(["prepare", "source=folder", f"source.root=photos_{name}", f"out=data/{name}"])
    if job == "compare":
        for name in ("a", "b"):
            shutil.copytree(folder / "eval" / "mine", folder / "eval" / name)
    run(shlex.split(cli.JOBS[job].example)[1:])
