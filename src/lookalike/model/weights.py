"""Weights from files: read without running code, loaded as a whole or refused in one line."""

import re
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from lookalike.errors import LookalikeError
from lookalike.wording import join_words

State = dict[str, Tensor]
WRAPPERS = ("state_dict", "model_state_dict", "model")
"""Entries of a checkpoint that hold the weights of its model."""
PYTORCH_FILES = (b"PK\x03\x04", b"\x80")
"""What files that PyTorch writes begin with: a zip archive, formerly a pickle."""
LISTED = 5
"""Names that a message lists of many."""
SHAPES = re.compile(
    r"size mismatch for (\S+): copying a param with shape (\S+\(.*?\)) from checkpoint, the shape in current "
    r"model is (\S+\(.*?\))"
)


def read_weights(path: Path) -> State:
    """A state dict from .safetensors, or from a .pth or .pt without running any code that it may hold.

    Raises:
        LookalikeError: the file is missing, or is not a state dict of plain tensors.
    """
    if not path.is_file():
        raise LookalikeError(f"{path}: no such weights file")
    try:
        state = load_file(path) if path.suffix == ".safetensors" else _load_plain(path)
    except UnpicklingError as error:
        raise LookalikeError(
            f"{path}: not a state dict of plain tensors, but pickled Python objects, which can run code and "
            "are not loaded; save the weights with torch.save(model.state_dict(), FILE) or as .safetensors"
        ) from error
    except Exception as error:
        raise LookalikeError(f"{path}: not a state dict of plain tensors ({first_line(error)})") from error
    return _unwrap(state, path)


def load_weights(net: nn.Module, state: Mapping[str, Tensor], source: str | Path, name: str) -> None:
    """Load every weight of `net` from `state`, which holds these and no others.

    Args:
        net: changed in place.
        state: its weights.
        source: where they come from, for messages.
        name: what `net` is called in messages.

    Raises:
        LookalikeError: weights are missing, unknown, of another shape, or NaN or infinite; they are listed.
    """
    try:
        net.load_state_dict(dict(state))
    except RuntimeError as error:
        raise LookalikeError(f"{source}: {describe_failure(error, len(net.state_dict()), name)}") from error
    refuse_nan(net, source)


def refuse_larger(part: str, build: Callable[[], nn.Module], limit: int | None) -> None:
    """Refuse a part of a model with more weights than there are to load, before memory is allocated.

    Raises:
        ValueError: it has more than `limit`.
    """
    with torch.device("meta"):
        count = sum(weight.numel() for weight in build().state_dict().values())
    if limit is not None and count > limit:
        raise ValueError(f"its {part} would have {count:,} weights, but the folder holds {limit:,}")


def refuse_nan(net: nn.Module, source: str | Path) -> None:
    """Refuse weights that are NaN or infinite.

    Raises:
        LookalikeError: some are; they are listed.
    """
    wrong = [
        name
        for name, value in net.state_dict().items()
        if value.is_floating_point() and not torch.isfinite(value).all()
    ]
    if wrong:
        raise LookalikeError(
            f"{source}: contains NaN or infinite weights ({list_names(wrong)}): the file is damaged, or "
            "training had diverged when it was saved"
        )


def describe_failure(error: Exception, expected: int, name: str) -> str:
    """One line on what PyTorch says about weights that do not fit a model.

    Args:
        error: what loading raised.
        expected: number of weights of the model.
        name: what the model is called.
    """
    text = str(error)
    if isinstance(error, KeyError):  # what converts the names of weights looks for one that is not there
        return f"holds the weights of another model than {name}: lacks {error.args[0]}"
    missing, unknown = _keys(text, "Missing"), _keys(text, "Unexpected")
    shapes = [
        f"{key} has shape {_size(theirs)}, not {_size(ours)}" for key, theirs, ours in SHAPES.findall(text)
    ]
    parts = [
        f"{label} {list_names(keys)}" for label, keys in (("lacks", missing), ("unknown:", unknown)) if keys
    ]
    parts += [list_names(shapes)] if shapes else []
    if not parts:
        return f"its weights do not load into {name}: {first_line(error)}"
    other = len(missing) + len(shapes) > expected / 2
    return (
        f"{'holds the weights of another model than' if other else 'does not fit'} {name}: {'; '.join(parts)}"
    )


def list_names(names: Iterable[str]) -> str:
    """The first of several names, and how many more there are."""
    names = list(names)
    more = [f"{len(names) - LISTED} more"] if len(names) > LISTED else []
    return join_words([*names[:LISTED], *more])


def nearest(name: str, known: Iterable[str], otherwise: str) -> str:
    """The known names that are most like `name`, the nearest first, or else `otherwise`."""
    original = {each.lower(): each for each in known}
    close = get_close_matches(name.lower(), original, n=5, cutoff=0.3)
    return ", ".join(original[each] for each in close) or otherwise


def first_line(error: Exception) -> str:
    """The first line of an error that says something, or else its kind."""
    lines = (line.strip().rstrip(".:") for line in str(error).splitlines())
    return next((line for line in lines if line), type(error).__name__)


def _load_plain(path: Path) -> object:
    with path.open("rb") as stream:
        if not stream.read(4).startswith(PYTORCH_FILES):
            raise ValueError("no file that PyTorch writes")
    return torch.load(path, map_location="cpu", weights_only=True)


def _unwrap(state: object, path: Path) -> State:
    """The state dict inside of a checkpoint; the prefix `module.` of parallel training is removed."""
    for wrapper in WRAPPERS:
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise LookalikeError(
            f"{path}: contains no state dict; save one with torch.save(model.state_dict(), FILE)"
        )
    if not state:
        raise LookalikeError(f"{path}: contains no weights")
    parallel = all(name.startswith("module.") for name in state)
    return {name.removeprefix("module.") if parallel else name: value for name, value in state.items()}


def _keys(text: str, label: str) -> list[str]:
    """The names that PyTorch lists after `Missing key(s) in state_dict:` or the like."""
    listed = re.search(rf"{label} key\(s\) in state_dict: (.*)", text)
    return re.findall(r'"([^"]+)"', listed[1]) if listed else []


def _size(shape: str) -> str:
    return shape.replace("torch.Size(", "").rstrip(")")
