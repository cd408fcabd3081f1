import io
import sys
import tarfile
from types import ModuleType

import numpy as np
import pytest

from lookalike.cli.prepare import Config, main
from lookalike.config import load
from lookalike.detect import open_images
from lookalike.detect.open_images import KINDS, OpenImages, anchors, decode_boxes, network_in
from lookalike.errors import ConfigError

NETWORK = b"\x1c\0\0\0TFL3" + bytes(range(50))


class Network:
    """A network that sees one cat, and a dog in the same place that is less sure."""

    shapes = ((1, 1917, 4), (1, 1917, 24))

    def __init__(self, model_content, num_threads):
        self.content = model_content
        self.places, self.scores = np.zeros((1917, 4), np.float32), np.full((1917, 24), -9, np.float32)
        self.scores[1914, KINDS.index("cat")] = 3
        self.scores[1914, KINDS.index("dog")] = 1
        self.scores[5, KINDS.index("person")] = 4

    def allocate_tensors(self):
        if b"damaged" in self.content:
            raise ValueError("Model provided has model identifier")

    def get_input_details(self):
        return [{"index": 0}]

    def get_output_details(self):
        return [{"index": place + 1, "shape": np.array(shape)} for place, shape in enumerate(self.shapes)]

    def set_tensor(self, _, value):
        assert value.shape == (1, 300, 300, 3)
        assert value.dtype == np.float32
        assert -1 <= value.min() <= value.max() <= 1

    def invoke(self):
        pass

    def get_tensor(self, index):
        return [None, self.places[None], self.scores[None]][index]


@pytest.fixture
def runtime(monkeypatch):
    module = ModuleType("ai_edge_litert.interpreter")
    module.Interpreter = Network
    monkeypatch.setitem(sys.modules, "ai_edge_litert", ModuleType("ai_edge_litert"))
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", module)


@pytest.fixture
def archive(tmp_path):
    """What `npm pack` writes."""
    file = tmp_path / "mediapipe-objectron-0.4.tgz"
    with tarfile.open(file, "w:gz") as tar:
        for name, data in {
            "package/index.js": b"TFL3",
            "package/x_packed_assets.data": b"???\nCat\n" + NETWORK,
        }.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return file


def test_the_boxes_around_which_the_network_looks():
    found = anchors()
    assert found.shape == (1917, 4)
    assert np.allclose(found[0], (0.5 / 19, 0.5 / 19, 0.1, 0.1))
    assert np.allclose(found[-1], (0.5, 0.5, 0.95**0.5, 0.95**0.5))
    assert np.allclose(found[-6], (0.5, 0.5, 0.95, 0.95))
    assert (found[:, :2] > 0).all()
    assert (found[:, :2] < 1).all()


def test_places_are_shares_of_the_boxes():
    around = np.array([[0.5, 0.4, 0.2, 0.1]])
    assert np.allclose(decode_boxes(np.zeros((1, 4)), around), [[0.4, 0.35, 0.6, 0.45]])
    moved = decode_boxes(np.array([[10.0, 5.0, 5 * np.log(2), 0.0]]), around)
    assert np.allclose(moved, [[0.5, 0.4, 0.7, 0.6]])
    assert np.isfinite(decode_boxes(np.full((1, 4), 1e6), around)).all()


@pytest.mark.parametrize(
    ("kinds", "count"), [(("cat",), 1), (("cat", "dog"), 1), (("car",), 0), (("person",), 1)]
)
def test_a_cat_is_one_box_in_pixels_of_the_picture(runtime, archive, kinds, count):
    found = OpenImages(archive, kinds)(np.zeros((200, 400, 3), np.uint8))
    assert len(found) == count
    if "cat" in kinds:
        x, y, width, height = anchors()[1914] * (400, 200, 400, 200)
        assert np.allclose(found[0].box, (x - width / 2, y - height / 2, x + width / 2, y + height / 2))
        assert found[0].score == pytest.approx(1 / (1 + np.exp(-3)))


def test_the_network_is_found_in_the_archive_and_by_itself(archive, tmp_path):
    assert network_in(archive) == NETWORK
    (tmp_path / "net.tflite").write_bytes(NETWORK)
    assert network_in(tmp_path / "net.tflite") == NETWORK


@pytest.mark.parametrize(
    ("name", "data", "word"),
    [
        ("gone.tgz", None, "there is no such file"),
        ("text.tflite", b"Dear Sir", "contains no TFLite network"),
        ("fasterrcnn.pth", b"PK", "for detect=dog"),
        ("damaged.tflite", NETWORK + b"damaged", "not a readable network"),
    ],
)
def test_other_files_are_refused_with_where_the_right_one_is(runtime, tmp_path, name, data, word):
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(ConfigError, match=word):
        OpenImages(tmp_path / name)


def test_another_network_is_refused(runtime, archive, monkeypatch):
    monkeypatch.setattr(Network, "shapes", ((1, 10, 4), (1, 10, 91)))
    with pytest.raises(ConfigError, match="not the expected network"):
        OpenImages(archive)


def test_the_missing_runtime_and_unknown_kinds_are_named(monkeypatch, archive):
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    with pytest.raises(ConfigError, match=r"pip install 'lookalike\[animals\]'"):
        OpenImages(archive)
    with pytest.raises(ValueError, match="choose some of bicycle"):
        OpenImages(archive, kinds=("unicorn",))


@pytest.mark.parametrize("choice", ["cat", "animal"])
def test_without_a_file_the_error_says_how_to_get_it(tmp_path, choice):
    config = load(
        "prepare", Config, [f"source.root={tmp_path}", f"out={tmp_path / 'out'}", f"detect={choice}"]
    )
    with pytest.raises(ConfigError) as caught:
        main(config)
    assert open_images.PACKAGE in str(caught.value)
    assert "detect=cat_face" in str(caught.value)
