"""Every number that an evaluation can write is defined in docs/evaluate.md."""

import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

import lookalike
from lookalike.evaluation.evaluate import evaluate
from lookalike.evaluation.protocols.pairs import PairList
from lookalike.evaluation.protocols.retrieval import QueryGallery

CONF = Path(lookalike.__file__).parent / "conf" / "metric"
DOCS = Path(__file__).parents[2] / "docs" / "evaluate.md"


def metrics():
    """All of conf/metric."""
    found = {}
    for file in CONF.glob("*.yaml"):
        found.update(instantiate(OmegaConf.load(file)))
    return found


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    """What evaluations with all metrics, of all kinds of protocols, write."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(12), 4)
    vectors = rng.standard_normal((12, 8))[labels] + rng.standard_normal((48, 8))
    paths = [f"{row}.jpg" for row in range(48)]
    role = np.where((labels % 2 == 0) & (np.arange(48) % 4 == 0), "gallery", "query")
    frame = pl.DataFrame({"path": paths, "role": role})
    file = tmp_path_factory.mktemp("docs") / "pairs.csv"
    pairs = rng.integers(0, 48, (60, 2))
    lines = [f"{a}.jpg,{b}.jpg,{int(labels[a] == labels[b])}" for a, b in pairs.tolist() if a != b]
    file.write_text("\n".join(["path,path,same", *lines, "0.jpg,1.jpg,1", "4.jpg,5.jpg,1"]))
    found = set()
    for rules in (None, QueryGallery(), PairList(file=file, folds=2)):
        measured = evaluate(
            vectors, labels, frame=frame, metrics=metrics(), far=0.1, threshold=0.5, protocol=rules,
            coarse_far=True, intervals=False,
        )  # fmt: skip
        found.update(measured.metrics)
    return found


def test_each_number_stands_in_the_docs(names):
    """`recall@5` as `recall@k`, `tar@far=0.1` as `tar@far=F`."""
    text = DOCS.read_text()
    wanted = {re.sub(r"@\d+$", "@k", re.sub(r"@far=[\d.]+$", "@far=F", name)) for name in names}
    assert len(wanted) > 40
    assert sorted(name for name in wanted if f"`{name}`" not in text) == []


def test_each_metric_that_can_be_asked_for_stands_in_the_docs():
    text = DOCS.read_text()
    assert sorted(name for name in metrics() if f"`{name}`" not in text) == []
