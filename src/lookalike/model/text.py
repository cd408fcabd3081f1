"""Text towers: texts in, vectors in the space of a model's images out; saved with the model, without code."""

import json
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from lookalike.errors import ConfigError, LookalikeError
from lookalike.files import replace_file, write_text
from lookalike.model.openclip_text import OpenClipText
from lookalike.model.text_encoders import OWN_ENCODER, Encoder, NGram, OwnEncoder, Spec, TextEncoder
from lookalike.model.truncation import split_space, truncated_space
from lookalike.model.weights import load_weights, read_weights
from lookalike.version import __version__

FORMAT = 1
CONFIG, WEIGHTS = "text.json", "text.safetensors"


class TextTower(nn.Module):
    """Texts to unit vectors in the space of a model's images.

    Args:
        encoder: gives raw vectors.
        dim: length of the image vectors; a learned linear map leads there.
        space: of the image vectors.
        projected: False where the vectors of the encoder are in the space as they are.

    Attributes:
        truncation: dimensions that are kept; None for all.
    """

    def __init__(self, encoder: TextEncoder, dim: int, space: str, projected: bool = True):
        super().__init__()
        if not projected and encoder.dim != dim:
            raise ConfigError(
                f"text_encoder: its vectors have dimension {encoder.dim}, those of the images {dim}, so it "
                "has to be trained; set epochs above 0"
            )
        self.encoder, self.whole_dim, self.whole_space = encoder, dim, space
        self.projection = nn.Linear(encoder.dim, dim) if projected else nn.Identity()
        self.projected = projected
        self.truncation: int | None = None

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self.truncation or self.whole_dim

    @property
    def space(self) -> str:
        """The space of the images that the vectors can be compared with."""
        return self.whole_space if self.truncation is None else truncated_space(self.whole_space, self.dim)

    def forward(self, texts: Sequence[str]) -> Tensor:
        """Texts to unit vectors [N, dim], float32."""
        return F.normalize(self.projection(self.encoder(texts)).float()[:, : self.truncation], dim=1)

    def embed(self, texts: Sequence[str], batch_size: int = 256) -> np.ndarray:
        """Unit vectors of texts, float32 [N, dim].

        Raises:
            TypeError: one text is given, or something else than texts.
            LookalikeError: a text is empty, or has nothing that the encoder knows.
        """
        if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
            raise TypeError(f"embed takes a list of texts, got {texts!r:.80}")
        empty = [text for text in texts if not re.search(r"\w", text)]
        if empty:
            raise LookalikeError(f"text {empty[0]!r}: has no letters or digits, so it has no vector")
        was_training, vectors = self.training, [np.empty((0, self.dim), np.float32)]
        self.eval()
        try:
            with torch.inference_mode():
                vectors += [
                    self(texts[start : start + batch_size]).cpu().numpy()
                    for start in range(0, len(texts), batch_size)
                ]
        finally:
            self.train(was_training)
        return np.concatenate(vectors)

    def save(self, folder: str | Path, training: Spec | None = None) -> None:
        """Write text.json and text.safetensors into a model folder.

        Args:
            folder: of the model.
            training: what is known of the training, for text.json.
        """
        folder = Path(folder)
        description = {
            "format": FORMAT,
            "lookalike": __version__,
            "space": self.whole_space,
            "dim": self.whole_dim,
            "projected": self.projected,
            "encoder": self.encoder.spec,
            "training": training or {},
        }
        state = {name: value.detach().cpu().contiguous() for name, value in self.state_dict().items()}
        replace_file(folder / WEIGHTS, lambda path: save_file(state, path))
        write_text(folder / CONFIG, json.dumps(description, indent=2) + "\n")


def load_text(folder: str | Path, encoder: Encoder | None = None) -> TextTower:
    """The text tower of a model folder, in eval mode, on the CPU. No network, no code from the folder.

    Args:
        folder: a model folder, or a run folder.
        encoder: for a tower that was trained around an encoder of the user's own: that encoder.

    Raises:
        LookalikeError: there is none, or it is damaged, of another model, or its weights do not fit; they are
            listed.
    """
    folder = Path(folder)
    folder = folder if (folder / CONFIG).is_file() else folder / "model"
    file = folder / CONFIG
    if not file.is_file() or not (folder / WEIGHTS).is_file():
        raise LookalikeError(
            f"{folder.parent if folder.name == 'model' else folder}: the model has no text tower; "
            "`lookalike align-text` trains one"
        )
    try:
        description = json.loads(file.read_text(encoding="utf-8"))
        if int(description["format"]) > FORMAT:
            raise LookalikeError(f"{file}: format {description['format']} is newer than this version reads")
        made = _rebuild(description["encoder"], encoder, folder)
        tower = TextTower(made, int(description["dim"]), str(description["space"]), description["projected"])
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise LookalikeError(f"{file}: does not describe a text tower ({error!r})") from error
    state = read_weights(folder / WEIGHTS) if tower.state_dict() else {}
    load_weights(tower, state, folder / WEIGHTS, f"the text tower of {CONFIG}")
    _check_model(folder, tower.whole_space)
    return tower.eval()


def require_space(tower: Any, space: str, owner: str) -> None:
    """Refuse a text tower whose vectors cannot be compared with those of `owner`.

    Raises:
        LookalikeError: they are of another space.
    """
    if tower.space != space:
        raise LookalikeError(
            f"the text tower was trained for the model {tower.whole_space}, and {owner} holds vectors of "
            f"{split_space(space)[0]}; train another one: lookalike align-text"
        )


def _check_model(folder: Path, space: str) -> None:
    """Refuse a tower that lies beside another model than the one it was trained for."""
    file = folder / "config.json"
    if not file.is_file():
        return
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))["space"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LookalikeError(f"{file}: cannot be read: {error!r}") from error
    if split_space(str(stored))[0] != space:
        raise LookalikeError(
            f"{folder / CONFIG}: was trained for the model {space}, and the model beside it is {stored}"
        )


def _rebuild(spec: Spec, encoder: Encoder | None, folder: Path) -> TextEncoder:
    """The encoder of a spec, without weights; a folder names kinds, never code."""
    kind = spec["kind"]
    if kind == OWN_ENCODER:
        if encoder is None:
            raise LookalikeError(
                f"{folder}: its text tower was trained around {spec['name']}, and a model folder holds no "
                f"code; give it: 'text_encoder={{_target_: {spec['name']}}}', or load_text(folder, encoder)"
            )
        return OwnEncoder(encoder)
    if encoder is not None:
        raise LookalikeError(f"{folder}: its text encoder is {kind}; leave out text_encoder")
    kinds: dict[str, Callable[[], TextEncoder]] = {
        "ngram": partial(NGram, **{key: value for key, value in spec.items() if key != "kind"}),
        "openclip": lambda: OpenClipText(spec),
    }
    if kind not in kinds:
        raise LookalikeError(f"text encoder kind {kind!r}: this version supports {', '.join(kinds)}")
    return kinds[kind]()
