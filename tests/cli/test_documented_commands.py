"""Every command in the README, the docs, the YAML headers and the help is one that the jobs accept."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from lookalike import cli
from lookalike.cli import main
from lookalike.config import catalogue

ROOT = Path(__file__).parents[2]
DOCS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SPAN = re.compile(r"`(lookalike [^`]+)`")
FRAGMENT = re.compile(r"`(?:protocol=\w+ )?(protocol\.[\w.]+=[^`… ]+)`")
FILLED = {
    "JOB": "train",
    "GROUP=CHOICE": "loss=triplet",
    "NAME": "nekonet_1",
    "loss=NAME": "loss=triplet",
    "experiment=NAME": "experiment=nekonet_1",
    "key=value": "…",
}
OWN = """
from torch import nn


class MyLoss(nn.Module):
    def __init__(self, margin: float = 0.3): ...


class Muzzle:
    def __init__(self, weights: str): ...


class Transform: ...


def draw(): ...
"""
WRONG = {"lookalike train dataset=data/mine out=runs/mine loss=tripplet", "epochs=-1"}
"""What the docs show to be refused."""


def blocks(text):
    """The lines of the code blocks of a page."""
    joined = text.replace("\\\n", " ")
    return [line for part in joined.split("```")[1::2] for line in part.splitlines()[1:]]


def commands():
    for file in DOCS:
        text = file.read_text(encoding="utf-8")
        lines = [line.removeprefix("$ ").partition("  #")[0].partition(" // ")[0] for line in blocks(text)]
        for line in [*lines, *SPAN.findall(" ".join(text.replace("\n", " ").split()))]:
            yield f"{file.name}: {line.strip()}"
    for file in sorted(catalogue.CONF.rglob("*.yaml")):
        for line in file.read_text(encoding="utf-8").splitlines():
            yield f"{file.name}: {line.removeprefix('#').strip()}"
    for name, job in cli.JOBS.items():
        yield f"help of {name}: {job.example}"


def needs_run(command):
    words = command.partition(": ")[2]
    return words.startswith("lookalike ") and not any(wrong in words for wrong in WRONG)


COMMANDS = sorted({command for command in commands() if needs_run(command)})


def words_of(command):
    text = command.partition(": ")[2].removeprefix("lookalike ")
    text = re.sub(r"\[(model|split)=[^\]]*\]", "", text).replace(" or …", "")
    return [FILLED.get(word, word) for word in shlex.split(text)]


@pytest.fixture
def idle(tmp_path, monkeypatch, configs):
    """The jobs do nothing, in a folder with what the docs take for given."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_module.py").write_text(OWN, encoding="utf-8")
    (tmp_path / "my_choices" / "loss").mkdir(parents=True)
    (tmp_path / "my_conf" / "plot").mkdir(parents=True)
    plot = "# mine\n_target_: my_module.draw\n_partial_: true\n"
    (tmp_path / "my_conf" / "plot" / "mine.yaml").write_text(plot)
    mine = {"mine": {"weight": 1.0, "_target_": "my_module.MyLoss", "margin": 0.3}}
    (tmp_path / "my_choices" / "loss" / "mine.yaml").write_text(f"# mine\n{yaml.safe_dump(mine)}")
    monkeypatch.syspath_prepend(tmp_path)


def test_there_are_many():
    assert len(COMMANDS) > 80


@pytest.mark.parametrize("command", COMMANDS)
def test_every_documented_command_is_accepted(command, idle, capsys):
    words = words_of(command)
    code = main.main([word for word in words if "…" not in word])
    err = capsys.readouterr().err
    assert code == 0 or (err.startswith(f"lookalike: {words[0]}") and " needs " in err), f"{command}: {err}"


FRAGMENTS = sorted({found for file in DOCS for found in FRAGMENT.findall(file.read_text(encoding="utf-8"))})


@pytest.mark.parametrize("fragment", FRAGMENTS)
def test_every_documented_value_of_a_protocol_is_accepted(fragment, idle, capsys):
    said = []
    for choice in catalogue.choices("protocol"):
        file = ["protocol.file=x"] if choice == "pairs" else []
        if main.main(["evaluate", "embeddings=a", "out=b", f"protocol={choice}", *file, fragment]) == 0:
            return
        said.append(capsys.readouterr().err)
    raise AssertionError("".join(said))
