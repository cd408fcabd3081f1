"""Pictures for plots that show images."""

from collections.abc import Callable, Sequence

import pytest
from PIL import Image


@pytest.fixture
def pictures() -> Callable[[Sequence[int]], list[Image.Image]]:
    """From row numbers to pictures of one colour, some wide, some high."""

    def load(rows: Sequence[int]) -> list[Image.Image]:
        return [Image.new("RGB", (20 + row % 3 * 10, 30), (17 * row % 256, 120, 200)) for row in rows]

    return load
