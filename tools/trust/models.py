"""Model folders and ONNX files from strangers."""

import json
import resource
import shutil
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trust.figure import Figure
from trust.processes import Process

MEMORY = 1 << 30
"""Bytes beyond what it has that a process may take to refuse a file."""
SLOWEST = 20.0
EVENTS = {
    *("os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "pickle.find_class", "socket.connect"),
    *("socket.getaddrinfo", "os.remove", "os.rename", "shutil.rmtree"),
}
"""What Python reports of code that runs, pickles that are read, connections and files that change."""
SECRET = "stranger-secret"
"""Part of the name of files that a model must not make the program read."""
CODE = "import os; os.system('touch executed')"


def make_model(folder: Path) -> None:
    """A small model folder, a file of the same model in ONNX, and a file that it must not read."""
    from lookalike.data.transforms import Resize
    from lookalike.model import backbones, heads, pooling
    from lookalike.model.embedder import build

    model = build(backbones.small_cnn([4, 4]), pooling.Native(), heads.Linear, 8, Resize(16)).eval()
    model.save(folder / "model")
    (folder / SECRET).write_bytes(bytes(4 * 8))


class _Code:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return exec, (CODE,)


def _write_pickle(folder: Path) -> None:
    import pickle

    (folder / "model.safetensors").write_bytes(pickle.dumps(_Code()))


def _write_torch_pickle(folder: Path) -> None:
    import torch

    torch.save({"weight": _Code()}, folder / "model.safetensors")


def _header(text: str | bytes, length: int | None = None, data: bytes = b"") -> Callable[[Path], None]:
    """A safetensors file with this header, and perhaps a length that is not true."""

    def write(folder: Path) -> None:
        content = text.encode() if isinstance(text, str) else text
        size = len(content) if length is None else length
        (folder / "model.safetensors").write_bytes(struct.pack("<Q", size) + content + data)

    return write


def _change_weights(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        from safetensors.torch import load_file, save_file

        weights = load_file(folder / "model.safetensors")
        change(weights)
        save_file(weights, folder / "model.safetensors")

    return write


def _set_first(value: float) -> Callable[[dict[str, Any]], object]:
    return lambda weights: weights[min(weights)].view(-1)[:1].fill_(value)


def _cut_weight(weights: dict[str, Any]) -> None:
    name = min(weights)
    weights[name] = weights[name][:1].clone()


def _change_config(*path: str, value: Any) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        file = folder / "config.json"
        config = json.loads(file.read_text())
        inner = config
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = value
        file.write_text(json.dumps(config))

    return write


def _drop_config(key: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        file = folder / "config.json"
        config = json.loads(file.read_text())
        del config[key]
        file.write_text(json.dumps(config))

    return write


def _write_config(text: str | bytes) -> Callable[[Path], None]:
    content = text.encode() if isinstance(text, str) else text
    return lambda folder: (folder / "config.json").write_bytes(content) and None


def _timm(name: str, **more: Any) -> Callable[[Path], None]:
    return _change_config("backbone", value={"kind": "timm", "name": name, "image_size": 32, **more})


TARGET = {"_target_": "os.system", "_args_": ["touch executed"]}
FOLDERS: dict[str, Callable[[Path], None]] = {
    "pickle as weights": _write_pickle,
    "torch pickle as weights": _write_torch_pickle,
    "header of 10 GB": _header("{}", 10 << 30),
    "header of 2^64 - 1 bytes": _header("{}", 2**64 - 1),
    "header longer than the file": _header("{}", 500),
    "header that is no JSON": _header(b"\xff" * 64),
    "header of 100,000 brackets": _header("[" * 100_000),
    "offsets outside of the file": _header(
        '{"a":{"dtype":"F32","shape":[1000000000],"data_offsets":[0,4000000000]}}', data=bytes(16)
    ),
    "shape that overflows": _header(
        '{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}'
    ),
    "overlapping offsets": _header(
        '{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},'
        '"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}',
        data=bytes(12),
    ),
    "unknown type": _header('{"a":{"dtype":"OBJ","shape":[1],"data_offsets":[0,4]}}', data=bytes(4)),
    "empty weights": lambda folder: (folder / "model.safetensors").write_bytes(b"") and None,
    "no weights": _change_weights(dict.clear),
    "NaN weights": _change_weights(_set_first(float("nan"))),
    "infinite weights": _change_weights(_set_first(float("inf"))),
    "missing weight": _change_weights(lambda weights: weights.pop(min(weights))),
    "extra weight": _change_weights(lambda weights: weights.update(evil=weights[min(weights)].clone())),
    "weight of another shape": _change_weights(_cut_weight),
    "_target_ as backbone": _change_config("backbone", value=TARGET),
    "_target_ as head": _change_config("head", value=TARGET),
    "_target_ as pooling": _change_config("pooling", value=TARGET),
    "_target_ as preprocessing": _change_config("preprocess", value=TARGET),
    "unknown backbone": _change_config("backbone", value={"kind": "evil"}),
    "model of a hub": _timm("hf-hub:evil/model"),
    "model of a folder": _timm(f"local-dir:/tmp/{SECRET}"),
    "path as model": _timm(f"../../{SECRET}"),
    "checkpoint as model": _timm("resnet18", checkpoint_path=SECRET),
    "no name": _change_config("backbone", value={"kind": "timm"}),
    "name that is a list": _timm(["resnet18"]),  # type: ignore[arg-type]
    "size of 10^9": _timm("vit_tiny_patch16_224", image_size=10**9),
    "dimension of 10^12": _change_config("dim", value=10**12),
    "dimension of -1": _change_config("dim", value=-1),
    "dimension that is text": _change_config("dim", value="8"),
    "dimension that is null": _change_config("dim", value=None),
    "10^9 channels": _change_config("backbone", "channels", value=[10**9, 10**9]),
    "channels that are text": _change_config("backbone", "channels", value="ab"),
    "images of 10^9 pixels": _change_config("preprocess", "size", value=10**9),
    "images of -1 pixels": _change_config("preprocess", "size", value=-1),
    "unknown resizing": _change_config("preprocess", "how", value="evil"),
    "resizing with another key": _change_config("preprocess", "evil", value=1),
    "backbone that is text": _change_config("backbone", value="small_cnn"),
    "head that is null": _change_config("head", value=None),
    "format that is text": _change_config("format", value="1"),
    "format of 99": _change_config("format", value=99),
    "no head": _drop_config("head"),
    "config that is a list": _write_config("[1, 2]"),
    "config that is a number": _write_config("7"),
    "config of 100,000 brackets": _write_config("[" * 100_000),
    "config that is no text": _write_config(b"\xff\xfe\x00"),
    "empty config": _write_config(""),
    "config with YAML tags": _write_config("!!python/object/apply:os.system ['touch executed']"),
}


def _node_graph(nodes: list[Any], weights: list[Any], dim: int = 8) -> Any:
    from onnx import TensorProto, helper

    images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", 16, 16, 3])
    vectors = helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["n", dim])
    return helper.make_graph(nodes, "g", [images], [vectors], weights)


def _save_onnx(file: Path, graph: Any, metadata: object = None, domains: tuple[str, ...] = ("",)) -> None:
    from onnx import helper

    imports = [helper.make_opsetid(domain, 20 if domain == "" else 1) for domain in domains]
    model = helper.make_model(graph, opset_imports=imports, ir_version=10)
    if metadata is not None:
        entry = model.metadata_props.add()
        entry.key, entry.value = "lookalike", metadata if isinstance(metadata, str) else json.dumps(metadata)
    file.write_bytes(model.SerializeToString())


METADATA = {
    "format": 1,
    "space": "0",
    "dim": 8,
    "preprocess": {"size": 16, "how": "squash", "interpolation": "bilinear"},
    "input": {"dtype": "uint8"},
    "precision": "fp32",
}


def _plain(weights: list[Any] | None = None, op: str = "Mul", domain: str = "") -> Any:
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    scale = [numpy_helper.from_array(np.ones((3, 8), np.float32), "w")] if weights is None else weights
    nodes = [
        helper.make_node("Cast", ["images"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["x", "axes"], ["m"], keepdims=0),
        helper.make_node("MatMul" if op == "Mul" else op, ["m", "w"], ["embeddings"], domain=domain),
    ]
    axes = numpy_helper.from_array(np.array([1, 2], np.int64), "axes")
    return _node_graph(nodes, [*scale, axes])


def _external(location: str) -> Callable[[Path], None]:
    """Weights that are in another file."""

    def write(file: Path) -> None:
        from onnx import TensorProto, helper

        weight = helper.make_tensor("w", TensorProto.FLOAT, [3, 8], [0.0] * 24)
        weight.ClearField("float_data")
        weight.data_location = TensorProto.EXTERNAL
        for key, value in (("location", location), ("offset", "0"), ("length", "96")):
            entry = weight.external_data.add()
            entry.key, entry.value = key, value
        _save_onnx(file, _plain([weight]), METADATA)

    return write


def _onnx(metadata: object) -> Callable[[Path], None]:
    return lambda file: _save_onnx(file, _plain(), metadata)


def _bytes(content: bytes) -> Callable[[Path], None]:
    return lambda file: file.write_bytes(content) and None


def _pickle_file(file: Path) -> None:
    import pickle

    file.write_bytes(pickle.dumps(_Code()))


GRAPHS: dict[str, Callable[[Path], None]] = {
    "pickle": _pickle_file,
    "noise": _bytes(bytes(range(256)) * 20),
    "empty": _bytes(b""),
    "weights of an absolute path": lambda file: _external(str(file.parent / SECRET))(file),
    "weights of a relative path": _external(SECRET),
    "weights of the folder above": _external(f"../models/{SECRET}"),
    "custom operator": lambda file: _save_onnx(
        file, _plain(op="Evil", domain="evil"), METADATA, ("", "evil")
    ),
    "Python operator": lambda file: _save_onnx(
        file, _plain(op="PyOp", domain="pyopmulti_1"), METADATA, ("", "pyopmulti_1")
    ),
    "no metadata": lambda file: _save_onnx(file, _plain()),
    "metadata of 100,000 brackets": _onnx("[" * 100_000),
    "metadata that are a list": _onnx([1]),
    "metadata that are text": _onnx('"format space dim preprocess input precision"'),
    "metadata with _target_": _onnx({**METADATA, "preprocess": TARGET}),
    "metadata of another dimension": _onnx({**METADATA, "dim": 9}),
    "metadata of 10^12 dimensions": _onnx({**METADATA, "dim": 10**12}),
    "metadata with a dimension that is text": _onnx({**METADATA, "dim": "eight"}),
    "metadata of images of 10^9 pixels": _onnx(
        {**METADATA, "preprocess": {**METADATA["preprocess"], "size": 10**9}}
    ),  # type: ignore[dict-item]
    "metadata without a list": _onnx({**METADATA, "input": "uint8"}),
    "metadata of format text": _onnx({**METADATA, "format": "one"}),
    "metadata of format 99": _onnx({**METADATA, "format": 99}),
}


def try_models(folder: Path, numbers: list[int]) -> None:
    """Load hostile models, and print what is wrong with how each is refused."""
    from PIL import Image

    import lookalike
    from lookalike.errors import LookalikeError

    cases = [(name, "folder", change) for name, change in FOLDERS.items()]
    cases += [(name, "graph", change) for name, change in GRAPHS.items()]
    events: list[str] = []
    armed = [False]

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if armed[0] and (event in EVENTS or (event == "open" and SECRET in str(arguments[0]))):
            events.append(f"{event} {str(arguments)[:80]}")

    sys.addaudithook(watch)
    photo = Image.new("RGB", (20, 20), "red")
    import os

    os.chdir(folder)
    for name, kind, change in [cases[number] for number in numbers]:
        target = folder / "hostile" if kind == "folder" else folder / "hostile.onnx"
        if kind == "folder":
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(folder / "model", target)
        change(target)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        begun, problem = time.monotonic(), ""
        events.clear()
        armed[0] = True
        try:
            lookalike.load(target).embed([photo])
            problem = "is accepted"
        except LookalikeError as error:
            if target.name not in str(error):
                problem = f"the message does not name the file: {error}"
        except BaseException as error:
            problem = repr(error)[:300]
        armed[0] = False
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        seconds = time.monotonic() - begun
        if events or (folder / "executed").exists():
            problem += f" {events} {(folder / 'executed').exists()}"
        if grown * 1024 > MEMORY or seconds > SLOWEST:
            problem += f" {grown >> 10} MB, {seconds:.1f} s"
        print(json.dumps([f"{kind}: {name}", problem]), flush=True)


def measure_models(folder: Path, amount: int) -> Figure:
    """All hostile model folders and ONNX files, or every so many of them."""
    folder = folder / "models"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    Process(make_model, folder).wait()
    count = len(FOLDERS) + len(GRAPHS)
    numbers = list(range(count))[:: max(1, count // amount)]
    end = Process(try_models, folder, numbers).wait()
    results = [json.loads(line) for line in end.out.splitlines() if line.startswith("[")]
    problems = [f"{name}: {problem}" for name, problem in results if problem]
    if len(results) < len(numbers):
        problems.append(f"ended with {end.code} after {len(results)} of {len(numbers)}: {end.err[-300:]}")
    return Figure(
        f"{len(results)} hostile model folders and ONNX files: {len(problems)} that ran code, read another "
        "file, used the network, were accepted, or gave no clear message",
        "0",
        problems,
    )
