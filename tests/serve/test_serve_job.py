"""The job `serve` and `lookalike.serve`: keys, and how photos are cropped as the dataset was."""

import logging

import numpy as np
import pytest
import yaml
from PIL import Image

import lookalike
from lookalike.cli._serve_detect import find_cropping
from lookalike.cli.main import main
from lookalike.detect.cropping import Boxes, Crops
from lookalike.errors import ConfigError
from lookalike.serve import start


@pytest.fixture
def calls(monkeypatch):
    """What would be calls, in place of serving it."""
    started = []
    monkeypatch.setattr(start, "serve_index", lambda index, settings: started.append((index, settings)))
    return started


def test_the_keys_reach_the_service(shelter, calls, monkeypatch):
    words = "port=0 token=abc read_token=true hosts=[a.org,b.org] fpir=0.1 max_bytes=5000 timeout=3 queue=2"
    more = ["api=immich", "immich.upstream=http://ml:3003", "batch_size=3"]
    assert main(["serve", f"index={shelter / 'index'}", *words.split(), *more]) == 0
    ((index, settings),) = calls
    assert len(index) == 40 and (settings.port, settings.fpir, settings.batch_size) == (0, 0.1, 3)
    assert (settings.access.token, settings.access.read_token) == ("abc", True)
    assert settings.access.hosts == ("a.org", "b.org")
    assert (settings.limits.max_bytes, settings.limits.timeout, settings.limits.queue) == (5000, 3, 2)
    assert (settings.immich, settings.upstream) == (True, "http://ml:3003")
    monkeypatch.setenv("LOOKALIKE_TOKEN", "from the environment")
    lookalike.serve(shelter / "index")
    assert calls[-1][1].access.token == "from the environment"
    assert (calls[-1][1].host, calls[-1][1].cropping) == ("127.0.0.1", None)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("port=99999", "port"),
        ("read_token=true", "needs token="),
        ("detect=nothing", "nothing"),
        ("api=other", "api"),
        ("index=nowhere", "not an index folder"),
        ("model=nowhere", "nowhere"),
    ],
)
def test_wrong_keys_are_refused(word, message, shelter, calls, capsys):
    assert main(["serve", f"index={shelter / 'index'}", word]) in (1, 2)
    assert message in capsys.readouterr().err and not calls


@pytest.fixture
def cropped_index(shapes, tmp_path):
    """An index of a dataset that was prepared with detect=box, and the dataset."""
    photos = shapes(tmp_path / "photos", classes=3, per_class=4)
    rows = ["path,label,x1,y1,x2,y2"]
    rows += [f"{file},{file.parent.name},2,2,30,30" for file in sorted(photos.rglob("*.png"))]
    (tmp_path / "table.csv").write_text("\n".join(rows))
    options = ["split=images", "detect.size=20", "detect.margin=0.1", "progress=false", "workers=0"]
    source = ["source=table", f"source.file={tmp_path / 'table.csv'}", "detect=box"]
    assert main(["prepare", *source, f"out={tmp_path / 'data'}", *options]) == 0
    table = lookalike.read_table(tmp_path / "data")
    index = lookalike.Index.build(np.eye(len(table)), table, out=tmp_path / "index")
    return index, tmp_path / "data"


def test_photos_are_cropped_as_the_dataset_was(cropped_index):
    index, dataset = cropped_index
    for detect in ("auto", str(dataset)):
        cropping, name = find_cropping(detect, index)
        assert (cropping, name) == (Boxes(size=20, margin=0.1), "box")
    assert find_cropping("none", index) == (None, "none")
    own = Crops(lambda image: [])
    assert find_cropping(own, index) == (own, "Crops")
    values = yaml.safe_load((dataset / "config.yaml").read_text())
    values["detect"]["_target_"] = "os.system"
    (dataset / "config.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(ConfigError, match=r"os\.system, which is not part of lookalike and is not run"):
        find_cropping("auto", index)
    (dataset / "config.yaml").unlink()
    with pytest.raises(ConfigError, match="its images are crops"):
        find_cropping("auto", index)
    with pytest.raises(ConfigError, match="does not say how its images were cropped"):
        find_cropping(str(dataset), index)


def test_whole_photos_stay_whole(shelter, caplog):
    caplog.set_level(logging.INFO)
    index = start.load_index(shelter / "index")
    assert find_cropping("auto", index) == (None, "none")
    assert Image.open(index.table.file(0)).size == (48, 48)
