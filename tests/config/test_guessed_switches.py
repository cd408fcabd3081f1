"""`key=true` and `key=false` where the key is no switch: the message says what to write."""

import re
from pathlib import Path

import pytest

from lookalike import config
from lookalike.cli import module
from lookalike.config import catalogue
from lookalike.config.guesses import SWITCHES
from lookalike.errors import ConfigError

JOBS = {"train": ["dataset=d", "out=o"], "evaluate": ["out=o"], "search": ["index=i", "image=p"]}
JOBS["prepare"] = ["source=folder", "source.root=photos", "out=o"]
OWNED = [
    (job, key) for job in JOBS for key in (*catalogue.keys(job), *catalogue.groups(job)) if key in SWITCHES
]


def load(job, *arguments):
    return config.load(job, module(job).Config, [*JOBS[job], *arguments])


def test_every_key_with_advice_belongs_to_a_job():
    assert {key for _, key in OWNED} == set(SWITCHES)


@pytest.mark.parametrize(("job", "key"), OWNED)
def test_a_guessed_switch_leads_to_a_value_that_the_job_takes(job, key):
    for value, advice in zip(("true", "false"), SWITCHES[key], strict=True):
        with pytest.raises(ConfigError, match=re.escape(f"Use {advice}")):
            load(job, f"{key}={value}")
        example = re.match(r"([a-z_.]+=(?:\[.*\]|\{.*\}|[^ ,;]+))", advice)
        if example and not re.search(r"\b[A-Z]+\b", example[1]):
            load(job, example[1])


@pytest.mark.parametrize("value", ["true", "false"])
def test_a_switch_is_no_path_unless_there_is_such_a_file(value, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=rf"a file or folder of that name is written \./{value}"):
        config.load("train", module("train").Config, ["dataset=d", f"out={value}"])
    assert load("train", f"cache=./{value}").cache == Path(value)
    (tmp_path / value).mkdir()
    assert load("train", f"cache={value}").cache == Path(value)
