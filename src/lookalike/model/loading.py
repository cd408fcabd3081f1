"""Loading a model for use: a model folder, or an exported file."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lookalike.errors import ConfigError
from lookalike.model.onnx_model import FILE, OnnxModel

if TYPE_CHECKING:
    import torch
    from torch import nn

    from lookalike.model.embedder import EmbeddingModel


def load(
    folder: str | Path, device: "str | torch.device | None" = None, model: "nn.Module | None" = None
) -> "EmbeddingModel | OnnxModel":
    """The model of a model folder, in eval mode, or of a file that `lookalike export` wrote.

    Args:
        folder: what `lookalike train` wrote to OUT/model, or OUT itself; an export folder, or its model.onnx.
        device: "cpu", "cuda", …; the CPU if not given.
        model: if it was trained around a module of your own, such a module; its weights are replaced.

    Raises:
        LookalikeError: the folder is damaged, or `model` does not fit it.
        ConfigError: PyTorch or ONNX Runtime is needed and not installed.
    """
    folder = Path(folder)
    exported = find_onnx(folder)
    if exported is not None:
        if model is not None:
            raise ConfigError(f"{exported}: holds its own graph; leave out model=")
        return OnnxModel(exported, None if device is None else str(device))
    return _load_torch(folder, device, model)


def find_onnx(folder: Path) -> Path | None:
    """The exported file that a path means; None for a model folder of PyTorch."""
    if folder.suffix == ".onnx":
        return folder
    lone = (folder / FILE).is_file() and not (folder / "model.safetensors").is_file()
    return folder / FILE if lone else None


def _load_torch(folder: Path, device: Any, model: Any) -> "EmbeddingModel":
    try:
        from lookalike.model.embedder import load
    except ImportError as error:
        if error.name not in ("torch", "torchvision", "timm", "safetensors"):
            raise
        raise ConfigError(
            f"{folder}: a model folder needs PyTorch: pip install 'lookalike[train]'. Without PyTorch, use a "
            "file that `lookalike export` wrote"
        ) from error
    return load(folder, device, model)
