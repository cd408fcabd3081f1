import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lookalike.plots.image_uses import bars, uses_histogram


@settings(max_examples=200, deadline=None)
@given(uses=st.lists(st.integers(0, 5000), min_size=1, max_size=60))
def test_bars_hold_every_image_once_and_never_used_ones_apart(uses):
    edges, counts = bars(np.array(uses))
    assert counts.sum() == len(uses)
    assert len(counts) <= 42
    assert (np.diff(edges) > 0).all()
    assert (edges % 1 == 0.5).all(), "between whole numbers"
    if 0 in uses:
        assert edges[:2].tolist() == [-0.5, 0.5]
        assert counts[0] == uses.count(0)


@pytest.mark.parametrize("uses", [[0], [3] * 9, [0, 0, 900], list(range(100))])
def test_it_tells_mean_standard_deviation_and_never(uses, tmp_path):
    figure = uses_histogram(np.array(uses))
    told = " ".join(text.get_text() for text in figure.axes[0].texts)
    assert f"mean {np.mean(uses):.3g}" in told
    assert f"± {np.std(uses):.3g}" in told
    assert ("never" in told) == (0 in uses)
    assert figure.axes[0].get_xlim()[0] >= min(-1, min(uses) - 4) - max(uses) / 20
    figure.savefig(tmp_path / "uses.png")


@pytest.mark.parametrize("uses", [[], [-1, 2]])
def test_nothing_and_negative_counts_are_refused(uses):
    with pytest.raises(ValueError, match="uses: needs at least one image"):
        uses_histogram(np.array(uses, int))
