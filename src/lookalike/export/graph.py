"""From an embedding model to one graph: uint8 pixels in, unit vectors out."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lookalike.data.transforms import Resize
from lookalike.errors import LookalikeError
from lookalike.evaluation.pca import Pca
from lookalike.model import pooling
from lookalike.model.embedder import EmbeddingModel
from lookalike.model.normalise import standardise

OPSET = 23
INPUT, OUTPUT = "images", "embeddings"
MAX_BATCH = 1 << 16
RESIZE_MODES = {"bicubic": "cubic", "bilinear": "linear"}
PILLOW_CUBIC = -0.5
"""Coefficient of Pillow's bicubic kernel; ONNX takes -0.75 by default."""


class Graph(nn.Module):
    """What is exported: one plain expression from the input to the unit vector.

    Args:
        model: in eval mode.
        preprocess: the input is pixels, uint8 in 0…255, instead of what the backbone takes.
        pca: applied to the unit vector.
    """

    def __init__(self, model: EmbeddingModel, preprocess: bool = True, pca: Pca | None = None):
        super().__init__()
        self.model, self.preprocess = model, preprocess
        self.size = model.resize.size
        self.projection: nn.Linear | None = None
        if pca is not None:
            self.projection = _projection(pca)

    def forward(self, images: Tensor) -> Tensor:
        """Images [B, 3, S, S] to unit vectors [B, dim], float32."""
        values = images
        if self.preprocess:
            scaled = images.float() / 255
            standard = self.model.normalise == "image"
            values = standardise(scaled) if standard else (scaled - self.model.mean) / self.model.std
        pooled = pooling.pool(self.model.backbone, self.model.pool, values)
        vectors = F.normalize(self.model.embed_pooled(pooled).float(), dim=1)
        return vectors if self.projection is None else F.normalize(self.projection(vectors), dim=1)


def _projection(pca: Pca) -> nn.Linear:
    """A PCA as one linear layer."""
    weight = torch.from_numpy(pca.directions * (pca.spread**-pca.whiten)[:, None])
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(-(weight @ torch.from_numpy(pca.mean)))
    return layer


def write_onnx(graph: Graph, file: Path) -> None:
    """Write a graph as ONNX, with any batch size.

    Raises:
        LookalikeError: the backbone has an operation that cannot be exported; it is named.
    """
    images = _example(graph)
    batch = torch.export.Dim("batch", min=1, max=MAX_BATCH)
    try:
        with _quiet():
            program = torch.onnx.export(
                graph.eval(),
                (images,),
                dynamo=True,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes={"images": {0: batch}},
                opset_version=OPSET,
                verbose=False,
            )
        program.save(str(file), external_data=False)  # type: ignore[union-attr]
    except Exception as error:
        raise LookalikeError(
            f"format=onnx: this model cannot be exported ({_reason(error)}); try format=torchscript"
        ) from error


def write_torchscript(graph: Graph, file: Path) -> None:
    """Write a traced graph for `torch.jit.load`, with any batch size.

    Raises:
        LookalikeError: the model cannot be traced.
    """
    try:
        with _quiet(), torch.inference_mode():
            traced = torch.jit.freeze(torch.jit.trace(graph.eval(), _example(graph), check_trace=False))
            torch.jit.save(traced, str(file))
    except Exception as error:
        raise LookalikeError(f"format=torchscript: this model cannot be traced ({_reason(error)})") from error


def _example(graph: Graph) -> Tensor:
    """Two images: a batch of one would be taken for a constant."""
    random = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (2, 3, graph.size, graph.size), generator=random, dtype=torch.uint8)
    return images if graph.preprocess else images.float() / 255


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's remarks about its own work from the user."""
    names = ("torch.onnx", "onnxscript", "onnx_ir")
    before = {name: logging.getLogger(name).level for name in names}
    try:
        for name in names:
            logging.getLogger(name).setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:200] if lines else type(error).__name__


def fold_resize(file: Path, resize: Resize) -> None:
    """Put the resizing of images of any size in front of a graph of pixels, in place.

    Raises:
        LookalikeError: the model letterboxes its images, which a graph cannot do.
    """
    import onnx
    from onnx import TensorProto, helper

    if resize.how == "letterbox":
        raise LookalikeError("fold=resize: this model letterboxes images; leave resize out of fold=")
    model = onnx.load(str(file))
    graph = model.graph
    inner = graph.input[0].name
    graph.input.remove(graph.input[0])
    sides = helper.make_tensor("resize_sides", TensorProto.INT64, [2], [resize.size, resize.size])
    low, high = (
        helper.make_tensor(name, TensorProto.FLOAT, [], [value])
        for name, value in (("resize_low", 0.0), ("resize_high", 255.0))
    )
    graph.initializer.extend([sides, low, high])
    nodes = [helper.make_node("Cast", ["pixels"], ["resize_float"], to=TensorProto.FLOAT)]
    source = "resize_float"
    if resize.how == "crop":
        nodes += _crop_nodes(graph, source)
        source = "resize_cropped"
    nodes += [
        helper.make_node(
            "Resize",
            [source, "", "", "resize_sides"],
            ["resize_resized"],
            mode=RESIZE_MODES[resize.interpolation],
            antialias=1,
            axes=[2, 3],
            coordinate_transformation_mode="half_pixel",
            cubic_coeff_a=PILLOW_CUBIC,
            exclude_outside=1,
        ),
        helper.make_node("Round", ["resize_resized"], ["resize_rounded"]),
        helper.make_node("Clip", ["resize_rounded", "resize_low", "resize_high"], ["resize_clipped"]),
        helper.make_node("Cast", ["resize_clipped"], [inner], to=TensorProto.UINT8),
    ]
    for node in reversed(nodes):
        graph.node.insert(0, node)
    graph.input.insert(
        0, helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["batch", 3, "height", "width"])
    )
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(file))


def _crop_nodes(graph: object, source: str) -> list:
    """The central square of images [B, 3, H, W], in whole pixels."""
    from onnx import TensorProto, helper

    constants = {
        "crop_axes": [2, 3],
        "crop_two": [2],
    }
    for name, value in constants.items():
        graph.initializer.append(helper.make_tensor(name, TensorProto.INT64, [len(value)], value))  # type: ignore[attr-defined]
    return [
        helper.make_node("Shape", [source], ["crop_shape"], start=2, end=4),
        helper.make_node("ReduceMin", ["crop_shape"], ["crop_side"], keepdims=1),
        helper.make_node("Sub", ["crop_shape", "crop_side"], ["crop_excess"]),
        helper.make_node("Div", ["crop_excess", "crop_two"], ["crop_start"]),
        helper.make_node("Add", ["crop_start", "crop_side"], ["crop_end"]),
        helper.make_node("Slice", [source, "crop_start", "crop_end", "crop_axes"], ["resize_cropped"]),
    ]
