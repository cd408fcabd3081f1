"""Exporting a model to one file: the same vectors, measured, without PyTorch at the other end."""

import json
import logging
import subprocess
import sys

import numpy as np
import onnx
import polars as pl
import pytest
import torch
from onnx import TensorProto, helper
from PIL import Image

import lookalike
from lookalike.cli.main import main
from lookalike.data.table import Table
from lookalike.data.transforms import Resize
from lookalike.errors import ConfigError, LookalikeError
from lookalike.evaluation.operating_point import write_point
from lookalike.evaluation.pca import Pca
from lookalike.evaluation.threshold_choice import choose_operating_point
from lookalike.export.export import export
from lookalike.export.graph import Graph, write_onnx
from lookalike.export.measure import measure_quality
from lookalike.model import backbones, heads, pooling
from lookalike.model.embedder import build
from lookalike.model.onnx_model import METADATA, OnnxModel
from lookalike.search.numpy_search import NumpySearch

WITHOUT_TORCH = "import sys\nfor name in ('torch', 'torchvision', 'timm'): sys.modules[name] = None\n"
SIZE = 28


def small_model(how="squash", normalise="backbone"):
    torch.manual_seed(0)
    return build(
        backbones.SmallCNN(), pooling.Native(), heads.Linear, 16, Resize(SIZE, how), normalise
    ).eval()


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Twelve identities with four noisy photos each: JPEG and PNG, upright and not, small and large."""
    folder, random = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    rows = []
    for identity in range(12):
        base = random.integers(0, 256, (6, 5, 3))
        for number in range(4):
            noisy = np.clip(base + random.normal(0, 20, base.shape), 0, 255).astype(np.uint8)
            image = Image.fromarray(noisy).resize((300 + 40 * number, 240), Image.Resampling.BICUBIC)
            name = f"{identity}_{number}.{'png' if number % 2 else 'jpg'}"
            exif = Image.Exif()
            exif[0x0112] = 6 if number == 2 else 1
            image.save(folder / name, exif=exif)
            split = ("train", "train", "val", "test")[identity % 4]
            rows.append({"path": name, "label": f"cat {identity}", "split": split})
    pl.DataFrame(rows).write_csv(folder / "table.csv")
    return folder


@pytest.fixture(scope="module")
def table(photos):
    return lookalike.read_table(photos / "table.csv")


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory, table):
    folder = tmp_path_factory.mktemp("run") / "model"
    model = small_model()
    model.save(folder)
    val = lookalike.embed(model, table.split("val"), progress=False)
    write_point(choose_operating_point(val.vectors, val.table.labels, 0.1, model.space), folder)
    return folder


@pytest.fixture(scope="module")
def fp32(tmp_path_factory, model_folder, table):
    out = tmp_path_factory.mktemp("exports") / "fp32"
    return export(model_folder, table, out=out, max_recall_loss=0, progress=False)


@pytest.fixture(scope="module")
def int8(tmp_path_factory, model_folder, table):
    out = tmp_path_factory.mktemp("exports") / "int8"
    return export(
        model_folder, table, out=out, precision="int8", max_gap=2, max_recall_loss=1, far=0.1, progress=False
    )


@pytest.mark.parametrize("batch", [1, 5, 64])
def test_any_batch_size_gives_the_vectors_of_the_model(fp32, model_folder, batch):
    images = np.random.default_rng(batch).integers(0, 256, (batch, 3, SIZE, SIZE), np.uint8)
    with torch.inference_mode():
        expected = lookalike.load(model_folder)(torch.from_numpy(images)).numpy()
    vectors = fp32.load()(images)
    assert vectors.shape == (batch, 16)
    assert (1 - (vectors * expected).sum(axis=1)).max() < 1e-6
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_the_file_alone_embeds_searches_and_verifies_like_the_model(fp32, model_folder, table, photos):
    model, ours = lookalike.load(model_folder), lookalike.load(fp32.file)
    assert ours.space == model.space == fp32.space
    theirs = lookalike.embed(model, table, progress=False)
    vectors = lookalike.embed(ours, table, workers=2, progress=False)
    np.testing.assert_allclose(vectors.vectors, theirs.vectors, atol=2e-6)
    paths = [photos / "0_0.jpg", photos / "0_2.jpg"]
    np.testing.assert_allclose(ours.embed(paths), model.embed(paths), atol=2e-6)
    mine, reference = lookalike.verify(ours, *paths), lookalike.verify(model, *paths)
    assert (mine.answer, mine.threshold) == (reference.answer, reference.threshold)
    index = lookalike.Index.build(theirs)
    hits = index.with_model(ours).search(photos / "3_0.jpg", k=3)
    assert hits[0].row == 12
    assert [hit.row for hit in hits] == [
        hit.row for hit in index.with_model(model).search(photos / "3_0.jpg", k=3)
    ]


def test_what_was_measured_is_returned_printed_and_saved(fp32):
    assert fp32.gap.max < 1e-6
    assert fp32.gap.images == 12
    same, ours = fp32.quality
    assert (same.recall_at_1, same.tar) == (ours.recall_at_1, ours.tar)
    assert [speed.batch_size for speed in fp32.speed] == [1, 16]
    assert "gap (1 - cosine) on 12 images" in str(fp32)
    folder = fp32.file.parent
    assert json.loads((folder / "export.json").read_text())["gap"]["max"] == fp32.gap.max
    assert {file.name for file in folder.iterdir()} == {
        "model.onnx",
        "export.json",
        "config.yaml",
        "operating_point.json",
        "README.md",
    }


def test_the_program_in_the_card_needs_only_onnxruntime(fp32, model_folder, photos, tmp_path):
    card = (fp32.file.parent / "README.md").read_text(encoding="utf-8")
    program = card.split("With ONNX Runtime alone:\n\n```python\n")[1].split("```")[0]
    assert len(program.splitlines()) <= 13
    program = program.replace("a.jpg", str(photos / "0_2.jpg")).replace("b.jpg", str(photos / "5_0.jpg"))
    program = f"import sys\nsys.modules['torch'] = sys.modules['lookalike'] = None\n{program}"
    program += f"np.save({str(tmp_path / 'v.npy')!r}, vectors)\n"
    subprocess.run([sys.executable, "-c", program], cwd=fp32.file.parent, check=True, timeout=120)
    expected = lookalike.load(model_folder).embed([photos / "0_2.jpg", photos / "5_0.jpg"])
    np.testing.assert_allclose(np.load(tmp_path / "v.npy"), expected, atol=2e-6)


@pytest.mark.parametrize("how", ["crop", "letterbox"])
def test_the_program_in_the_card_resizes_as_the_model_does(how, photos, tmp_path):
    from lookalike.export.card import example

    model = small_model(how)
    write_onnx(Graph(model), tmp_path / "model.onnx")
    program = example(model.resize, {"input": {"any_size": False}})
    program = program.replace("model.onnx", str(tmp_path / "model.onnx"))
    paths = [photos / "0_2.jpg", photos / "5_3.png"]
    names: dict = {}
    exec(program.replace("a.jpg", str(paths[0])).replace("b.jpg", str(paths[1])), names)
    np.testing.assert_allclose(names["vectors"], model.embed(paths), atol=2e-6)


def test_without_torch_the_jobs_embed_index_search_and_verify_work(fp32, photos, tmp_path):
    program = f"""{WITHOUT_TORCH}
from lookalike.cli.main import main
model, data, out = {str(fp32.file)!r}, {str(photos / "table.csv")!r}, {str(tmp_path)!r}
assert main(["embed", f"model={{model}}", f"dataset={{data}}", f"out={{out}}/emb", "progress=false"]) == 0
assert main(["index", f"embeddings={{out}}/emb", f"out={{out}}/index", "progress=false"]) == 0
assert main(["search", f"index={{out}}/index", "image={photos}/4_1.png", f"model={{model}}", "k=2"]) == 0
assert main(["verify", "{photos}/4_1.png", "{photos}/4_1.png", f"model={{model}}"]) == 0
assert main(["train", f"dataset={{data}}", f"out={{out}}/run"]) == 2
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "4_1.png" in done.stdout
    assert "same: similarity 1.000" in done.stdout
    assert "pip install 'lookalike[train]'" in done.stderr
    stored = lookalike.Embeddings.load(tmp_path / "emb")
    assert stored.space == fp32.space


def test_numpy_search_equals_exact_search():
    from lookalike.ranking.exact import ExactSearch

    random = np.random.default_rng(0)
    gallery = random.normal(size=(500, 8)).astype(np.float32)
    gallery[100:110] = gallery[50]
    gallery /= np.linalg.norm(gallery, axis=1, keepdims=True)
    queries = np.concatenate([gallery[45:60], gallery[:5] + 1e-4]).astype(np.float32)
    scores, rows = NumpySearch(gallery).search(queries, 20)
    expected_scores, expected_rows = ExactSearch(gallery).search(queries, 20)
    np.testing.assert_array_equal(rows, expected_rows)
    np.testing.assert_allclose(scores, expected_scores, atol=1e-7)
    assert NumpySearch(gallery[:3]).search(queries[:1], 5)[1].tolist()[0][3:] == [-1, -1]


def test_int8_is_a_space_of_its_own_with_its_own_operating_point(int8, fp32, model_folder, table, photos):
    ours = lookalike.load(int8.file)
    assert ours.space == int8.space != fp32.space
    assert int8.operating_point is not None
    assert int8.operating_point.space == int8.space
    assert lookalike.verify(ours, photos / "0_0.jpg", photos / "0_0.jpg").threshold == (
        int8.operating_point.threshold
    )
    assert [(each.queries, each.gallery) for each in int8.quality] == [
        ("original", "original"),
        ("exported", "exported"),
        ("exported", "original"),
        ("original", "exported"),
    ]
    index = lookalike.Index.build(lookalike.load(model_folder), table)
    with pytest.raises(LookalikeError, match="their vectors cannot be compared"):
        index.with_model(ours).search(photos / "0_0.jpg")
    graph = onnx.load(str(int8.file)).graph
    assert any(node.op_type == "DequantizeLinear" for node in graph.node)


def test_int8_without_training_images_is_refused(model_folder, tmp_path, table):
    for given in (None, table.split("test")):
        with pytest.raises(ConfigError, match="calibration needs at least 16 training images"):
            export(model_folder, given, out=tmp_path / "x", precision="int8", progress=False)
    assert not list(tmp_path.iterdir())


def test_fp16_stays_in_the_space_of_the_model(model_folder, table, tmp_path, fp32):
    result = export(model_folder, table, out=tmp_path / "x", precision="fp16", progress=False)
    assert result.space == fp32.space
    assert 0 < result.gap.max < 1e-3
    assert result.bytes < 0.6 * fp32.bytes


@pytest.mark.parametrize("how", ["squash", "crop"])
def test_a_graph_that_resizes_takes_images_of_any_size(how, table, photos, tmp_path):
    result = export(
        small_model(how), table, out=tmp_path / "x", fold=["preprocess", "resize"], progress=False
    )
    assert result.gap.max < 1e-3
    ours = result.load()
    wide, tall = Image.new("RGB", (90, 30), "red"), Image.new("RGB", (31, 200), "blue")
    np.testing.assert_allclose(
        (ours.embed([wide, tall]) * small_model(how).embed([wide, tall])).sum(axis=1), 1, atol=1e-3
    )


@pytest.mark.parametrize("normalise", ["backbone", "image"])
def test_preprocessing_outside_of_the_graph_gives_the_same(normalise, table, tmp_path, photos):
    model = small_model(normalise=normalise)
    result = export(model, table, out=tmp_path / "x", fold=[], progress=False)
    assert result.gap.max < 1e-5
    inside = export(model, None, out=tmp_path / "y", progress=False)
    assert inside.gap.images > 100  # of the bundled sample
    np.testing.assert_allclose(
        result.load().embed([photos / "1_1.png"]), inside.load().embed([photos / "1_1.png"]), atol=1e-5
    )


def test_a_pca_is_folded_in(table, tmp_path, photos):
    model = small_model()
    vectors = lookalike.embed(model, table, progress=False).vectors
    pca = Pca.fit(vectors, dim=6, whiten=0.5)
    (tmp_path / "eval" / "pca").mkdir(parents=True)
    pca.save(tmp_path / "eval" / "pca")  # as `evaluate` does
    result = export(
        model,
        table,
        out=tmp_path / "x",
        fold=["preprocess", "pca"],
        pca=tmp_path / "eval",
        progress=False,
        max_recall_loss=1,
    )
    expected = pca(model.embed([photos / "1_1.png"]))
    ours = result.load()
    assert (ours.dim, ours.space == model.space) == (6, False)
    np.testing.assert_allclose(
        ours.embed([photos / "1_1.png"]),
        expected / np.linalg.norm(expected, axis=1, keepdims=True),
        atol=1e-4,
    )
    with pytest.raises(ConfigError, match="pca"):
        export(model, table, out=tmp_path / "z", pca=tmp_path / "eval" / "pca", progress=False)


def test_torchscript_gives_the_same_vectors(table, tmp_path):
    model = small_model()
    result = export(model, table, out=tmp_path / "x", format="torchscript", progress=False)
    images = torch.randint(0, 256, (5, 3, SIZE, SIZE), dtype=torch.uint8)
    with torch.inference_mode():
        torch.testing.assert_close(result.load()(images), model(images), atol=2e-6, rtol=0)
    assert result.gap.max < 1e-6


def test_a_difference_above_the_tolerance_is_refused_and_leaves_nothing(model_folder, table, tmp_path):
    with pytest.raises(LookalikeError, match=r"differs too much: .*max_gap="):
        export(model_folder, table, out=tmp_path / "x", precision="fp16", max_gap=1e-12, progress=False)
    assert not list(tmp_path.iterdir())


def test_from_the_command_line(model_folder, photos, tmp_path, capsys):
    words = ["export", f"model={model_folder}", f"dataset={photos / 'table.csv'}", f"out={tmp_path / 'x'}"]
    assert main([*words, "progress=false"]) == 0
    assert "gap (1 - cosine)" in capsys.readouterr().out
    assert main([*words, "progress=false"]) == 1
    assert "exists" in capsys.readouterr().err
    assert main([*words[:2], f"out={tmp_path / 'y'}", "format=torchscript", "precision=int8"]) == 2
    assert "format=torchscript" in capsys.readouterr().err


def test_quality_between_two_spaces_is_that_of_a_plain_loop():
    random = np.random.default_rng(1)
    labels = np.repeat(np.arange(6), 3)
    one, two = (random.normal(size=(18, 5)) + labels[:, None] % 3 for _ in range(2))
    unit = [vectors / np.linalg.norm(vectors, axis=1, keepdims=True) for vectors in (one, two)]
    mixed = measure_quality(one, two, labels, 0.05, True)[2]
    hits, accepted, pairs = 0, 0, 0
    for row in range(18):
        scores = [-9 if row == other else unit[1][row] @ unit[0][other] for other in range(18)]
        hits += labels[int(np.argmax(scores))] == labels[row]
        same = [score for other, score in enumerate(scores) if other != row and labels[other] == labels[row]]
        pairs += len(same)
        accepted += sum(score >= mixed.threshold for score in same)
    assert (mixed.queries, mixed.gallery) == ("exported", "original")
    assert mixed.recall_at_1 == pytest.approx(hits / 18)
    assert mixed.tar == pytest.approx(accepted / pairs)


def _save(graph, file, metadata=None, opsets=(("", 20),)):
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid(*each) for each in opsets], ir_version=10
    )
    if metadata is not None:
        helper.set_model_props(model, {METADATA: metadata})
    onnx.save(model, str(file))


def _identity(op="Identity", domain=""):
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])
    return helper.make_graph(
        [helper.make_node(op, ["x"], ["y"], domain=domain)],
        "g",
        [value],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])],
    )


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("absent", "no such file"),
        ("empty", "0 bytes"),
        ("noise", "ONNX Runtime cannot open it"),
        ("foreign", "not written by `lookalike export`"),
        ("damaged", "metadata are damaged"),
        ("incomplete", "metadata lack"),
        ("custom operator", "ONNX Runtime cannot open it"),
        ("outside file", "ONNX Runtime cannot open it"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(kind, message, tmp_path):
    file = tmp_path / "model.onnx"
    if kind == "empty":
        file.touch()
    elif kind == "noise":
        file.write_bytes(np.random.default_rng(0).bytes(5000))
    elif kind == "foreign":
        _save(_identity(), file)
    elif kind in ("damaged", "incomplete"):
        _save(_identity(), file, "{" if kind == "damaged" else "{}")
    elif kind == "custom operator":
        _save(_identity("Evil", "evil"), file, "{}", (("", 20), ("evil", 1)))
    elif kind == "outside file":
        secret = tmp_path / "secret.bin"
        secret.write_bytes(b"\0" * 16)
        graph = _identity("Add")
        graph.node[0].input.append("w")
        weight = helper.make_tensor("w", TensorProto.FLOAT, [4], [0.0] * 4)
        weight.ClearField("float_data")
        weight.data_location = TensorProto.EXTERNAL
        for key, value in (("location", str(secret)), ("offset", "0"), ("length", "16")):
            entry = weight.external_data.add()
            entry.key, entry.value = key, value
        graph.initializer.append(weight)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        file.write_bytes(model.SerializeToString())
    with pytest.raises(LookalikeError, match=message) as caught:
        OnnxModel(file)
    assert str(file) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["test_vit", "test_resnet", "test_convnext", "test_efficientnet"])
def test_families_of_timm_are_exported_with_any_batch_size(name, tmp_path):
    import timm

    known = [each for each in timm.list_models("test_*") if each.startswith(name)]
    if not known:
        pytest.skip(f"this timm has no {name}")
    net = timm.create_model(known[0], pretrained=False, num_classes=0)
    size = net.pretrained_cfg["input_size"][-1]
    spec = {"kind": "timm", "name": known[0]}
    model = build(backbones.Timm(net, spec), pooling.Native(), heads.Linear, 8, Resize(size)).eval()
    table = Table(pl.DataFrame({"path": ["a.png"], "label": ["a"], "split": ["test"]}), tmp_path)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 60, 3), np.uint8)).save(tmp_path / "a.png")
    logging.getLogger("lookalike").setLevel(logging.INFO)
    result = export(model, table, out=tmp_path / "x", progress=False)
    assert result.gap.max < 1e-5
    images = np.random.default_rng(1).integers(0, 256, (5, 3, size, size), np.uint8)
    with torch.inference_mode():
        expected = model(torch.from_numpy(images)).numpy()
    assert (1 - (result.load()(images) * expected).sum(axis=1)).max() < 1e-5


def test_the_licence_is_that_of_the_weights_or_of_the_user(table, tmp_path):
    model = small_model()
    space = model.space
    assert model.licence is None
    model.save(tmp_path / "unknown")
    assert "Licence: not stated" in (tmp_path / "unknown" / "README.md").read_text()
    model.licence = "mit"
    model.save(tmp_path / "model")
    loaded = lookalike.load(tmp_path / "model")
    assert (loaded.licence, loaded.space) == ("mit", space)
    for licence, expected in (
        (None, "license: mit"),
        ("My Own 2.0", "license: other\nlicense_name: my own 2.0"),
    ):
        out = tmp_path / str(licence)
        export(loaded, table, out=out, licence=licence, progress=False)
        card = (out / "README.md").read_text()
        assert card.startswith("---\nlibrary_name: lookalike\n") and expected in card.split("---")[1]
        assert lookalike.info(out).licence == (licence or "mit").lower()
    assert "license: mit" in (tmp_path / "model" / "README.md").read_text().split("---")[1]
