"""A text tower trained against the vectors of a model's images, which stay as they are.

Source: Zhai et al., 2022, arXiv:2111.07991 (locked-image tuning). Each step compares different texts with one
image of each.
"""

import logging
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from lookalike.data.table import Table
from lookalike.embeddings import Embeddings, embed
from lookalike.errors import ConfigError, DataError, LookalikeError
from lookalike.evaluation.text_recall import Recall, column_texts, text_recall
from lookalike.files import new_folder, refuse_existing
from lookalike.losses import SupCon
from lookalike.losses._base import cosine
from lookalike.model.embedder import EmbeddingModel
from lookalike.model.loading import load
from lookalike.model.onnx_model import OnnxModel
from lookalike.model.text import CONFIG, WEIGHTS, TextTower
from lookalike.model.text_encoders import Encoder, NGram, OwnEncoder, TextEncoder

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TextSettings:
    """How a text tower is trained.

    Attributes:
        epochs: number of passes over the texts; 0 takes an encoder as it is.
        batch_size: texts per step, each with one of its images.
        lr: learning rate of AdamW, decayed to 0 along a cosine.
        temperature: divides the similarities.
        seed: of everything that is drawn.
    """

    epochs: int = 30
    batch_size: int = 128
    lr: float = 0.003
    temperature: float = 0.07
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 0 or self.batch_size < 2 or self.lr <= 0 or self.temperature <= 0:
            raise ConfigError("epochs must be at least 0, batch_size at least 2, lr and temperature above 0")


def align_text(
    model: EmbeddingModel | str | Path,
    table: Table,
    text: str,
    *,
    out: str | Path,
    encoder: TextEncoder | Encoder | None = None,
    settings: TextSettings | None = None,
    workers: int = 0,
    progress: bool = True,
) -> list[Recall]:
    """Train a text tower on the training images of a table and their texts, beside a copy of the model.

    The image vectors, and so the embedding space, stay as they are.

    Args:
        model: model folder or run folder, or a model that was loaded from one.
        table: images; those of the split train are trained on, those of val, if any, are reported.
        text: column with the texts.
        out: model folder to write: the files of the model, text.json and text.safetensors. It must not exist.
        encoder: `NGram` if not given; `openclip_text(…)`, or any function from texts to vectors, which is not
            trained, but followed by a learned linear map.
        settings: of the training.
        workers: processes that read images.
        progress: show progress bars.

    Returns:
        Recall on the validation images, text to image and image to text; empty if there are none.

    Raises:
        ConfigError: values do not fit.
        DataError: there is no such column, or too few texts.
        LookalikeError: the model cannot be read, or `out` exists.
    """
    settings, out = settings or TextSettings(), Path(out)
    refuse_existing(out)
    loaded = load(model) if isinstance(model, str | Path) else model
    if isinstance(loaded, OnnxModel) or loaded.folder is None or loaded.truncation is not None:
        raise ConfigError("align-text needs a model folder, as `lookalike train` writes it: model=runs/mine")
    parts = {
        name: table.take((table.frame["split"] == name).to_numpy())
        for name in ("train", "val")
        if (table.frame["split"] == name).any()
    }
    if "train" not in parts:
        raise DataError(f"{table.folder}: has no images of the split train")
    column_texts(parts["train"], text)
    torch.manual_seed(settings.seed)
    tower = TextTower(_as_encoder(encoder), loaded.dim, loaded.space, projected=settings.epochs > 0)
    vectors = {name: embed(loaded, part, workers=workers, progress=progress) for name, part in parts.items()}
    _fit(tower, vectors["train"], text, settings, progress)
    recalls = text_recall(tower, vectors["val"], text) if "val" in vectors else []
    with new_folder(out) as folder:
        for file in sorted(loaded.folder.iterdir()):
            if file.is_file() and file.name not in (CONFIG, WEIGHTS):
                shutil.copy2(file, folder / file.name)
        recorded = {f"val_{each.name}": each.value for each in recalls}
        tower.save(folder, {"column": text, **asdict(settings), **recorded})
    return recalls


def _as_encoder(encoder: TextEncoder | Encoder | None) -> TextEncoder:
    if encoder is None:
        return NGram()
    return encoder if isinstance(encoder, TextEncoder) else OwnEncoder(encoder)


def _fit(tower: TextTower, images: Embeddings, column: str, settings: TextSettings, progress: bool) -> None:
    """Train the tower on pairs of a text and one of its images.

    Raises:
        DataError: there are fewer than two different texts.
        LookalikeError: the vectors become NaN or infinite.
    """
    texts, rows = column_texts(images.table, column)
    names, codes = np.unique(texts, return_inverse=True)
    if len(names) < 2:
        raise DataError(f"text={column}: the training images have {len(names)} different texts; 2 are needed")
    vectors = torch.from_numpy(np.array(images.vectors[rows], np.float32))
    members = [np.flatnonzero(codes == code) for code in range(len(names))]
    loss = SupCon(settings.temperature)
    trained = [each for each in tower.parameters() if each.requires_grad]
    steps = -(-len(names) // settings.batch_size)
    optimizer = torch.optim.AdamW(trained, lr=settings.lr) if trained and settings.epochs else None
    random = np.random.default_rng(settings.seed)
    tower.train()
    epochs = track(range(settings.epochs), "training", console=Console(stderr=True), disable=not progress)
    for epoch in epochs:
        order = random.permutation(len(names))
        for step in range(steps):
            batch = order[step * settings.batch_size : (step + 1) * settings.batch_size]
            if optimizer is None or len(batch) < 2:
                continue
            _set_rate(optimizer, settings.lr, (epoch + step / steps) / settings.epochs)
            chosen = torch.from_numpy(vectors.numpy()[[random.choice(members[code]) for code in batch]])
            value = _two_tower_loss(loss, tower(names[batch].tolist()), chosen)
            if not torch.isfinite(value):
                raise LookalikeError("text vectors contain NaN or infinity: training has diverged. Lower lr")
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
    tower.eval()


def _two_tower_loss(loss: SupCon, texts: Tensor, images: Tensor) -> Tensor:
    """Mean of the loss of each text among the images, and of each image among the texts."""
    sim = cosine(texts, images)
    positive = torch.eye(len(texts), dtype=torch.bool)
    return (loss.pairs(sim, positive, ~positive) + loss.pairs(sim.T, positive, ~positive)) / 2


def _set_rate(optimizer: Any, lr: float, done: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = lr * 0.5 * (1 + float(np.cos(np.pi * done)))
