"""A small explorer folder with hostile names, made once."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hostile_names import HOSTILE, make_dataset, make_vectors

from lookalike.explore.folder import Options, write_explorer


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`made(single=True)` gives the page of an explorer; `data/` beside its folder is its dataset."""
    done: dict[bool, Path] = {}

    def make(single: bool = True) -> Path:
        if single not in done:
            folder = tmp_path_factory.mktemp("explore")
            options = Options(layout="pca", neighbours=5, single=single, progress=False)
            table = make_dataset(folder)
            done[single] = write_explorer(make_vectors(), table, folder / "map", f"my {HOSTILE}", options)
        return done[single]

    return make
