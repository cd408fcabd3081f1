"""The embedding model: images in, vectors out, with the preprocessing that travels with the weights."""

import copy
import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self, get_args

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lookalike.data.image_input import ImageLike, as_pillow_image, refuse_single
from lookalike.data.transforms import Resize, check_choice, stack_images
from lookalike.errors import LookalikeError
from lookalike.files import replace_file, write_text
from lookalike.model import backbones, heads, pooling
from lookalike.model.description import FORMAT, TRUNCATED_FORMAT, model_card, read_description
from lookalike.model.normalise import Normalise, normalise, standardise
from lookalike.model.own_module import KIND as OWN_MODULE
from lookalike.model.own_module import OwnModule
from lookalike.model.truncation import truncate_model, truncated_space
from lookalike.model.weights import first_line, load_weights, read_weights, refuse_larger

log = logging.getLogger(__name__)


class EmbeddingModel(nn.Module):
    """A backbone, a pooling and a head that turn images into vectors whose cosine says how alike they are.

    Args:
        backbone: see `lookalike.model.backbones`.
        pool: from a feature map to a vector; `Native` leaves it to the backbone. Weights of the backbone that
            what it reads does not depend on need no gradient.
        head: from the pooled vector to the embedding.
        resize: evaluation preprocessing, saved with the weights.
        normalise: what pixels become, saved too: scaled as the backbone expects, or "image" for a mean of 0
            and a standard deviation of 1 in each image.

    Attributes:
        folder: that it was loaded from; None for a new model.
        truncation: dimensions that are kept of what the head gives; None for all.
        matryoshka: dimensions that it was trained to be truncated to.
        licence: of the weights that training started from, where known; saved with the model.
    """

    def __init__(
        self,
        backbone: backbones.Backbone,
        pool: nn.Module,
        head: nn.Module,
        resize: Resize,
        normalise: Normalise = "backbone",
    ):
        super().__init__()
        check_choice("normalise", normalise, get_args(Normalise))
        self.folder: Path | None = None
        self.truncation: int | None = None
        self.matryoshka: tuple[int, ...] = ()
        self.licence: str | None = backbone.licence
        self.normalise = normalise
        self.backbone, self.pool, self.head, self.resize = backbone, pool, head, resize
        weights = dict(backbone.named_parameters())
        for name in backbone.unused_parameters(pooling.reads(pool)):
            weights[name].requires_grad_(False)
        self.register_buffer("mean", torch.tensor(backbone.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(backbone.std).view(1, 3, 1, 1), persistent=False)
        self.to(memory_format=torch.channels_last)

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return self.truncation or self.head.dim  # type: ignore[return-value]

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @property
    def space(self) -> str:
        """A hash of weights and preprocessing: vectors of two spaces must not be compared."""
        digest = hashlib.sha256(json.dumps(self._description(), sort_keys=True).encode())
        for name, value in sorted(self.state_dict().items()):
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        whole = digest.hexdigest()[:16]
        return whole if self.truncation is None else truncated_space(whole, self.truncation)

    def truncate(self, dim: int) -> "EmbeddingModel":
        """The model with the first `dim` dimensions of its embeddings, which are another space.

        A warning is logged if it was not trained for that (`matryoshka=`). The weights are shared.

        Raises:
            ConfigError: `dim` is more than the model has.
        """
        return truncate_model(self, dim)

    def features(self, images: Tensor) -> Tensor:
        """Raw embeddings, as losses want them.

        Args:
            images: [B, 3, H, W], uint8 in 0…255 or float in 0…1.

        Returns:
            [B, dim], not normalised.
        """
        return self.embed_pooled(self.pool_features(images))

    def embed_pooled(self, pooled: Tensor) -> Tensor:
        """Raw embeddings [B, dim] of what `pool_features` gives."""
        vectors = self.head(pooled)
        return vectors if self.truncation is None else vectors[:, : self.truncation]

    def pool_features(self, images: Tensor) -> Tensor:
        """What the head gets, [B, features]; `images` as for `features`."""
        inputs = self._normalise_images(images).contiguous(memory_format=torch.channels_last)
        return pooling.pool(self.backbone, self.pool, inputs)

    def _normalise_images(self, images: Tensor) -> Tensor:
        return standardise(images) if self.normalise == "image" else normalise(images, self.mean, self.std)

    def forward(self, images: Tensor) -> Tensor:
        """Embeddings of length 1, float32 [B, dim]; `images` as for `features`."""
        return F.normalize(self.features(images).float(), dim=1)

    def transform(self) -> Resize:
        """PIL image to uint8 tensor [3, size, size], as in evaluation."""
        return self.resize

    def embed(self, images: Sequence[ImageLike], batch_size: int = 64) -> np.ndarray:
        """Embeddings of a few images; for a data set use `lookalike.embed`.

        Args:
            images: paths, PIL images, or uint8 arrays [H, W, 3] (RGB) or [H, W] (grey). EXIF rotation is
                applied and transparency laid over white, in files and in PIL images.
            batch_size: images a forward pass.

        Returns:
            float32 [N, dim], each row of length 1. The model's train or eval mode stays as it was.

        Raises:
            ImageError: a file cannot be read; it is named.
        """
        refuse_single(images, "embed")
        was_training, vectors = self.training, [np.empty((0, self.dim), np.float32)]
        self.eval()
        try:
            for start in range(0, len(images), batch_size):
                tensors = [
                    self.resize(as_pillow_image(image, self.resize.at_least))
                    for image in images[start : start + batch_size]
                ]
                with torch.inference_mode():
                    vectors.append(self(stack_images(tensors).to(self.device)).cpu().numpy())
        finally:
            self.train(was_training)
        return np.concatenate(vectors)

    def save(self, folder: str | Path, card_text: str = "") -> None:
        """Write config.json, model.safetensors and README.md; each file is replaced as a whole.

        Args:
            folder: made if needed.
            card_text: a paragraph for the README: what it was trained on, how good it is.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        description = {"lookalike": version("lookalike"), "space": self.space, **self._description()}
        if self.matryoshka:
            description["matryoshka"] = list(self.matryoshka)
        if self.licence is not None:
            description["licence"] = self.licence
        if self.truncation is not None:
            description |= {"truncation": self.truncation, "format": TRUNCATED_FORMAT}
        shared: set[int] = set()
        state = {
            name: _unshared_weight(value.detach().cpu(), shared) for name, value in self.state_dict().items()
        }
        replace_file(folder / "model.safetensors", lambda path: save_file(state, path))
        write_text(folder / "config.json", json.dumps(description, indent=2) + "\n")
        write_text(folder / "README.md", model_card(description, card_text))

    def check_description(self) -> None:
        """Find out whether `load` will be able to build what `save` describes.

        Raises:
            LookalikeError: a part is of an unknown kind, or its spec describes other weights.
        """
        again = self._from_description(self._description()).state_dict()
        ours = self.state_dict()
        wrong = [name for name in {**ours, **again} if name not in ours or name not in again]
        wrong += [name for name in ours if name not in wrong and ours[name].shape != again[name].shape]
        if wrong:
            raise LookalikeError(f"its spec does not match its weights: {', '.join(wrong[:5])}")

    @classmethod
    def load(cls, folder: str | Path, module: nn.Module | None = None) -> Self:
        """A saved model, in eval mode, on the CPU. No network, no code from the folder.

        Args:
            folder: a model folder.
            module: for a model that was trained around a module of the user's own: such a module, whose
                weights are replaced.

        Raises:
            LookalikeError: a file is missing or damaged, or weights are missing, too many or of another
                shape; they are listed.
        """
        folder = Path(folder)
        description = read_description(folder)
        file = folder / "model.safetensors"
        weights = read_weights(file)
        try:
            limit = sum(weight.numel() for weight in weights.values())
            model = cls._from_description(description, module, folder, limit)
        except LookalikeError as error:
            if str(folder) in str(error):
                raise
            raise LookalikeError(f"{folder / 'config.json'}: {error}") from error
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise LookalikeError(
                f"{folder / 'config.json'}: does not describe a model ({first_line(error)})"
            ) from error
        load_weights(model, weights, file, "the model of config.json")
        model.folder = folder
        model.matryoshka = tuple(description.get("matryoshka", ()))
        model.truncation = description.get("truncation")
        model.licence = description.get("licence")
        return model.eval()

    def reload(self, folder: str | Path, device: str | torch.device | None = None) -> "EmbeddingModel":
        """`load` for a folder that this model, or a copy of it, was saved to."""
        module = copy.deepcopy(self.backbone.net) if isinstance(self.backbone, OwnModule) else None
        return load(folder, device, module)

    @classmethod
    def _from_description(
        cls,
        description: dict[str, Any],
        module: nn.Module | None = None,
        folder: Path | None = None,
        limit: int | None = None,
    ) -> Self:
        """The model that `_description` returned, without its weights; there are at most `limit` of them."""
        if description["backbone"].get("kind") == "small_cnn":
            refuse_larger("backbone", lambda: backbones.rebuild(description["backbone"]), limit)
        backbone = _rebuild_backbone(description, module, folder)
        pool = pooling.rebuild(description["pooling"])
        features = pooling.pooled_length(backbone, pool)
        build_head = partial(heads.rebuild, description["head"], features, description["dim"])
        refuse_larger("head", build_head, limit)
        head = build_head()
        normalise = description.get("normalise", "backbone")
        return cls(backbone, pool, head, Resize.from_dict(description["preprocess"]), normalise)

    def _description(self) -> dict[str, Any]:
        """What `load` needs besides the weights: plain values."""
        changed = {} if self.normalise == "backbone" else {"normalise": self.normalise}
        return {
            "format": FORMAT,
            **changed,
            "backbone": self.backbone.spec,
            "pooling": self.pool.spec,
            "head": self.head.spec,
            "dim": self.head.dim,
            "preprocess": asdict(self.resize),
        }


def load(
    folder: str | Path, device: str | torch.device | None = None, model: nn.Module | None = None
) -> EmbeddingModel:
    """The model of a model folder, in eval mode.

    Args:
        folder: what `lookalike train` wrote to OUT/model; OUT itself will do.
        device: "cpu", "cuda", …; the CPU if not given.
        model: if it was trained around a module of your own, such a module; its weights are replaced.

    Raises:
        LookalikeError: the folder is damaged, or `model` does not fit it.
    """
    folder = Path(folder)
    if not (folder / "config.json").exists() and (folder / "model" / "config.json").exists():
        folder = folder / "model"
    loaded = EmbeddingModel.load(folder, model)
    return loaded.to(device) if device else loaded


def check_readable(folder: Path) -> None:
    """Check that a model folder is complete and undamaged, also where `load` needs a module for it.

    Raises:
        LookalikeError: it is not.
    """
    if read_description(folder)["backbone"].get("kind") != OWN_MODULE:
        EmbeddingModel.load(folder)
        return
    try:
        load_file(folder / "model.safetensors")
    except Exception as error:
        raise LookalikeError(f"{folder / 'model.safetensors'}: {error}") from error


def _rebuild_backbone(
    description: dict[str, Any], module: nn.Module | None, folder: Path | None
) -> backbones.Backbone:
    """The backbone of a description; a folder names no code, so a user's own module must be passed.

    Raises:
        LookalikeError: a module is needed and not given, or given and not needed.
    """
    spec, owner = description["backbone"], folder or "the model"
    if spec.get("kind") != OWN_MODULE:
        if module is not None:
            raise LookalikeError(f"{owner}: its backbone is {spec.get('kind')}; leave out model=")
        return backbones.rebuild(spec)
    if module is None:
        raise LookalikeError(
            f"{owner}: was trained around a module of the user's own, {spec.get('name')}, and a model folder "
            f"holds no code. Load it in Python: lookalike.load({str(folder)!r}, model=MODULE)"
        )
    return OwnModule(module, int(description["preprocess"]["size"]))


def build(
    backbone: backbones.Backbone,
    pool: Any,
    head: Any,
    dim: int,
    resize: Resize,
    normalise: Normalise = "backbone",
) -> EmbeddingModel:
    """A model from its parts; `head` is called with the features that the pooling gives, and `dim`.

    A `pool` that is no module, as attention with its learned weights, is called with the channels of the map.
    """
    reads = pooling.reads(pool)
    backbone.check_reads(reads)
    pool = pooling.complete(backbone, pool)
    unused = backbone.unused_parameters(reads)
    if unused:
        log.info(
            "pooling: %d weights of backbone %s do not affect the embedding and are not trained: %s",
            *(len(unused), backbones.title(backbone), ", ".join(unused[:5]) + ", …" * (len(unused) > 5)),
        )
    features = pooling.pooled_length(backbone, pool)
    return EmbeddingModel(backbone, pool, head(features=features, dim=dim), resize, normalise)


def _unshared_weight(value: Tensor, shared: set[int]) -> Tensor:
    """A weight as it can be written; a second name of the same memory gets a copy of its own."""
    memory = value.untyped_storage().data_ptr()
    known = memory in shared
    shared.add(memory)
    return value.clone(memory_format=torch.contiguous_format) if known else value.contiguous()
