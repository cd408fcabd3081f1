"""A local web server that tests give its answers."""

import pytest
from hostile import serving


@pytest.fixture(scope="module")
def running():
    with serving() as server:
        yield server


@pytest.fixture
def server(running):
    running.answers.clear()
    running.log.clear()
    return running
