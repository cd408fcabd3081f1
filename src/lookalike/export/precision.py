"""Exported graphs in float16 and int8."""

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process
from onnxruntime.transformers.float16 import convert_float_to_float16

from lookalike.errors import LookalikeError

HEAVY = ("Conv", "ConvTranspose", "MatMul", "Gemm")
"""Operations with weights: what is quantised, and what bounds the parts that stay in float32."""
PERCENTILE = 99.99
"""Share of the activations seen in calibration that the range of int8 covers."""


def to_float16(file: Path) -> None:
    """Store weights and compute the backbone in float16; scaling of pixels and normalisation stay in float32.

    The inputs and outputs keep their types.
    """
    model = onnx.load(str(file))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # values that float16 rounds to its smallest
        converted = convert_float_to_float16(
            model, keep_io_types=True, node_block_list=sorted(edge_nodes(model.graph))
        )
    known: set[str] = set()
    for node in list(converted.graph.node):  # a constant that is read twice is cast twice, under one name
        if node.output[0] in known:
            converted.graph.node.remove(node)
        known.update(node.output)
    onnx.save(converted, str(file))


def to_int8(file: Path, images: Sequence[np.ndarray], input_name: str) -> None:
    """Quantise weights and activations: static, per channel, QDQ format, ranges by percentile.

    Args:
        file: a float32 graph; replaced.
        images: calibration inputs as the graph takes them, without the batch dimension; training images.
        input_name: of the graph.

    Raises:
        LookalikeError: ONNX Runtime cannot quantise this graph.
    """
    before = logging.root.level
    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        try:
            logging.root.setLevel(logging.ERROR)
            quant_pre_process(str(file), str(prepared), skip_symbolic_shape=True)
            with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
                quantize_static(
                    str(prepared),
                    str(file),
                    _Reader(images, input_name),
                    quant_format=QuantFormat.QDQ,
                    per_channel=True,
                    activation_type=QuantType.QUInt8,
                    weight_type=QuantType.QInt8,
                    op_types_to_quantize=[*HEAVY, "Add", "Mul", "GlobalAveragePool", "Relu", "Clip"],
                    nodes_to_exclude=sorted(edge_nodes(onnx.load(str(prepared)).graph)),
                    calibrate_method=CalibrationMethod.Percentile,
                    extra_options={"CalibPercentile": PERCENTILE, "CalibMovingAverage": False},
                )
        except Exception as error:
            raise LookalikeError(
                f"precision=int8: ONNX Runtime cannot quantise this model "
                f"({str(error).splitlines()[0][:200]}); use precision=fp32 or fp16"
            ) from error
        finally:
            logging.root.setLevel(before)


def edge_nodes(graph: Any) -> set[str]:
    """Names of the nodes before the first weights and after the last ones."""
    makers = {name: node for node in graph.node for name in node.output}
    readers: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    edge: set[str] = set()
    waiting = [graph.input[0].name]
    while waiting:
        for node in readers.get(waiting.pop(), []):
            if node.op_type not in HEAVY and node.name not in edge:
                edge.add(node.name)
                waiting += list(node.output)
    waiting = [graph.output[0].name]
    while waiting:
        node = makers.get(waiting.pop())
        if node is not None and node.op_type not in HEAVY and node.name not in edge:
            edge.add(node.name)
            waiting += list(node.input)
    return edge


class _Reader(CalibrationDataReader):
    """Calibration images, one at a time, as ONNX Runtime asks for them."""

    def __init__(self, images: Sequence[np.ndarray], input_name: str):
        self._batches = iter([{input_name: image[None]} for image in images])

    def get_next(self) -> Any:
        return next(self._batches, None)
