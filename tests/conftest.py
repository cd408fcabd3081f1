"""What every test may use: one thread a process, fixed seeds, no network, and a tiny set of drawn shapes."""

import gc
import os
import random
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

# Before torch, polars or matplotlib load: two OpenMP threads beside a busy process are slower than one.
for name, value in {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "POLARS_MAX_THREADS": "2",
    "MPLBACKEND": "Agg",
    "HF_HUB_OFFLINE": "1",
    "COLUMNS": "200",
}.items():
    os.environ.setdefault(name, value)

import numpy as np  # noqa: E402
import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402
from PIL import Image, ImageDraw  # noqa: E402

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# The same examples in every run of `make test`; `make fuzz` draws new ones and many more.
settings.register_profile("test", derandomize=True, database=None, deadline=None)
settings.register_profile("fuzz", derandomize=False, database=None, deadline=None, print_blob=True)
FUZZING = os.environ.get("LOOKALIKE_FUZZ", "")
settings.load_profile("fuzz" if FUZZING else "test")

# A shell's background job ignores Ctrl-C and so would every process that tests start and then stop with it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

COLOURS = {"red": "#d7263d", "green": "#2a9d4f", "blue": "#2667d7", "orange": "#f08a24", "purple": "#7b3fbf"}
CORNERS = {"triangle": 3, "square": 4, "hexagon": 6, "circle": 40}


def shape_names(classes: int) -> list[str]:
    """The first `classes` class names, up to 20: neighbours in the list differ in shape and in colour."""
    colours, corners = list(COLOURS), list(CORNERS)
    names = [f"{colours[i % 5]} {corners[(i + i // 20) % 4]}" for i in range(20)]
    if not 0 < classes <= len(names):
        raise ValueError(f"classes={classes}: there are 1 to {len(names)} shapes")
    return names[:classes]


def draw_shape(name: str, variation: int, size: int) -> Image.Image:
    """One picture of a class; place, size, turn and background depend on class and `variation` alone."""
    rng = random.Random(f"{name}/{variation}")
    colour, corners = name.split()
    background = tuple(rng.randint(190, 255) for _ in range(3))
    image = Image.new("RGB", (4 * size, 4 * size), background)
    radius = size * rng.uniform(1.1, 1.6)
    centre = [2 * size + size * rng.uniform(-0.4, 0.4) for _ in range(2)]
    ImageDraw.Draw(image).regular_polygon(
        (*centre, radius), CORNERS[corners], rotation=rng.uniform(0, 360), fill=COLOURS[colour]
    )
    return image.resize((size, size), Image.Resampling.BOX)


def draw_shapes(folder: Path, classes: int = 6, per_class: int = 4, size: int = 32) -> Path:
    """Write `folder/<class name>/<number>.png` and return `folder`. Same arguments, same bytes."""
    for name in shape_names(classes):
        (folder / name).mkdir(parents=True)
        for variation in range(per_class):
            draw_shape(name, variation, size).save(folder / name / f"{variation}.png")
    return folder


@pytest.fixture
def shapes() -> Callable[..., Path]:
    """`shapes(tmp_path / "photos", classes=6, per_class=4, size=32)` writes class folders."""
    return draw_shapes


@pytest.fixture(scope="session")
def shapes_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten classes of eight 48 px shapes, drawn once a session. Read only: copy what you mean to change."""
    return draw_shapes(tmp_path_factory.mktemp("shapes") / "photos", classes=10, per_class=8, size=48)


def pytest_collection_finish() -> None:
    """Garbage collections, some of which libraries ask for, need not visit what imports have left."""
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of `make fuzz`: only the properties, each with LOOKALIKE_FUZZ times as many examples."""
    if not FUZZING:
        return
    chosen = [item for item in items if hasattr(getattr(item, "obj", None), "hypothesis")]
    for function in {item.obj for item in chosen}:  # pyrefly: ignore
        own = getattr(function, "_hypothesis_internal_use_settings", None) or settings()
        more = settings(own, max_examples=own.max_examples * int(FUZZING), derandomize=False, database=None)
        function._hypothesis_internal_use_settings = more
    items[:] = chosen


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium for playwright's `executable_path`.

    Without one the tests that need it fail, as `make test` installs it or says what to do; with
    LOOKALIKE_NO_BROWSER=1, for work on a machine without one, they are skipped.
    """
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    missing = "no Chromium on this machine (Debian: apt-get install chromium)"
    if os.environ.get("LOOKALIKE_NO_BROWSER") == "1" and os.environ.get("CI") != "true":
        pytest.skip(missing)
    pytest.fail(f"{missing}; LOOKALIKE_NO_BROWSER=1 skips the tests that need it")


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator["Browser"]:
    """One Chromium for all tests of a module; an event loop runs in this thread until it is closed."""
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(autouse=True)
def seed_random_state() -> Iterator[None]:
    """Every test starts from the same random state; torch is seeded only where something imported it."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - libraries under test still draw from the global state
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "manual_seed"):
        torch.manual_seed(0)
        torch.set_num_threads(1)
    yield
