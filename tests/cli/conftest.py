"""Jobs that do not work."""

from typing import Any

import pytest

from lookalike import cli
from lookalike.cli import main


@pytest.fixture
def configs(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Any]]:
    """No job does anything; the configs that a job was given are in the list of its name."""
    given: dict[str, list[Any]] = {job: [] for job in cli.JOBS}
    for job, jobs_configs in given.items():
        monkeypatch.setattr(cli.module(job), "main", jobs_configs.append)
    yield given
    main.log.handlers.clear()
