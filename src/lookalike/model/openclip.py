"""Image towers of OpenCLIP: by name and pretrained tag, from the hub, or from a folder or file."""

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from lookalike.errors import ConfigError, LookalikeError
from lookalike.files import parse_json
from lookalike.model import hub
from lookalike.model.backbone import POOLINGS, Backbone, Spec, title
from lookalike.model.trial import try_out
from lookalike.model.weights import State, load_weights, nearest, read_weights

log = logging.getLogger(__name__)
HUB, FOLDER = "hf-hub:", "local-dir:"
CONFIG = "open_clip_config.json"
FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin")
"""Names of the weights in a folder or repository, in order of preference."""


class OpenClip(Backbone):
    """The image tower of an OpenCLIP model.

    Args:
        spec: name; tower, the arguments that build it; mean, std and interpolation of its weights;
            image_size.

    Raises:
        ConfigError: it cannot read images of this size.
        LookalikeError: the package is missing.
    """

    def __init__(self, spec: Spec):
        super().__init__()
        library = import_openclip()
        size, trained = spec["image_size"], trained_size(spec["tower"])
        make = partial(build_tower, library, spec["tower"], size)
        try:
            self.trial = try_out(make, _last_maps, _call, size, f"set image_size={trained}")
        except ConfigError as error:
            raise ConfigError(f"backbone.name={spec['name']}: {error}") from error
        self.spec, self.net = spec, make()
        self.mean, self.std = tuple(spec["mean"]), tuple(spec["std"])
        self.interpolation = spec["interpolation"]
        self.map_dim, self.pooled_dim = self.trial.map_dim, self.trial.pooled_dim

    def maps(self, images: Tensor) -> Tensor:
        """See `Backbone.maps`."""
        return _last_maps(self.net, images)

    def pool_images(self, images: Tensor) -> Tensor:
        """The vector that the model compares with texts."""
        return self.net(images)

    def class_token(self, images: Tensor) -> Tensor:
        """See `Backbone.class_token`."""
        return self.class_and_maps(images)[0]

    def class_and_maps(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """See `Backbone.class_and_maps`."""
        features = _last_features(self.net, images, output_extra_tokens=True)
        return features["image_intermediates_prefix"][-1][:, 0], features["image_intermediates"][-1]

    def check_reads(self, reads: str) -> None:
        """See `Backbone.check_reads`."""
        trunk = getattr(self.net, "trunk", None)
        has_class_token = getattr(
            trunk or self.net, "class_embedding" if trunk is None else "cls_token", None
        )
        if reads in POOLINGS and has_class_token is None:
            raise ConfigError(
                f"pooling={POOLINGS[reads]}: backbone {title(self)} has no class token; "
                "choose pooling=native, average, max or gem"
            )

    def unused_parameters(self, reads: str) -> list[str]:
        """See `Backbone.unused_parameters`."""
        return [f"net.{name}" for name in self.trial.unused_parameters(self.net, reads)]


def openclip(
    name: str = "ViT-B-32",
    tag: str | None = "laion2b_s34b_b79k",
    pretrained: bool = True,
    weights: str | None = None,
    image_size: int | None = None,
) -> Backbone:
    """The image tower of an OpenCLIP model; the text tower is left out.

    Args:
        name: as in `open_clip.list_models()`, or hf-hub:OWNER/NAME, or local-dir:FOLDER.
        tag: which published weights of `name`, as in `open_clip.list_pretrained()`; also decides on mean, std
            and activation. Not used with hf-hub: and local-dir:.
        pretrained: take these weights (needs the network the first time).
        weights: a local file of weights, of the whole model or of the image tower, in their place.
        image_size: side of the images; None for that of the weights. Position embeddings are resampled.

    Raises:
        ConfigError: `name` or `tag` is unknown, or the tower cannot read images of `image_size`.
        LookalikeError: the package is missing, or the weights cannot be had or do not fit.
    """
    library = import_openclip()
    tower, preprocess, find_weights = _describe(library, name, tag, pretrained and weights is None)
    del tower["text"]
    spec = {
        "kind": "openclip",
        "name": Path(name).name if name.startswith(FOLDER) else name,
        "tower": tower,
        "mean": list(preprocess["mean"]),
        "std": list(preprocess["std"]),
        "interpolation": "bicubic" if preprocess["interpolation"] == "bicubic" else "bilinear",
        "image_size": image_size or trained_size(tower),
    }
    backbone = OpenClip(spec)
    if weights is not None or pretrained:
        file = Path(weights) if weights is not None else find_weights()
        net = build_tower(library, tower)
        load_weights(net, _tower_weights(read_weights(file)), file, f"the image tower of {name}")
        resize_tower(net, spec["image_size"])
        backbone.net = net
    backbone.pretrained = pretrained or weights is not None
    return backbone


def import_openclip() -> Any:
    """The package open_clip.

    Raises:
        LookalikeError: it is not installed.
    """
    try:
        import open_clip
    except ImportError as error:
        raise LookalikeError(
            f"backbone=openclip needs the package open_clip_torch ({error}); "
            "run: pip install 'lookalike[openclip]'"
        ) from error
    return open_clip


def build_tower(library: Any, tower: Spec, size: int | None = None) -> nn.Module:
    """An image tower with random weights, for images of `size`, or else of the size it was trained with."""
    vision = {**tower["vision"], "output_tokens": False, "timm_model_pretrained": False}
    net = library.model._build_vision_tower(tower["dim"], vision, tower["quick_gelu"])
    if size is not None:
        resize_tower(net, size)
    return net


def trained_size(tower: Spec) -> int:
    """Side of the images that the weights of a tower were trained with."""
    size = tower["vision"].get("image_size", 224)
    return int(size if isinstance(size, int) else size[0])


def resize_tower(net: Any, size: int) -> None:
    """Make a tower read images of another size: its position embeddings are resampled (bicubic)."""
    from timm.layers import resample_abs_pos_embed

    if hasattr(net, "trunk"):
        net.set_input_size(size)
        return
    owner = getattr(net, "attnpool", net)
    patch = net.patch_size if hasattr(net, "patch_size") else (32, 32)
    grid = [max(1, size // side) for side in patch]
    if len(owner.positional_embedding) != 1 + grid[0] * grid[1]:
        embedding = resample_abs_pos_embed(owner.positional_embedding[None].data, grid, num_prefix_tokens=1)[
            0
        ]
        learned = owner.positional_embedding.requires_grad
        owner.positional_embedding = nn.Parameter(embedding, requires_grad=learned)
    net.image_size = (size, size) if hasattr(net, "grid_size") else size
    if hasattr(net, "grid_size"):
        net.grid_size = tuple(grid)


def describe_text(name: str, tag: str | None, required: bool) -> tuple[Spec, Callable[[], Path]]:
    """The arguments of a text tower, and a function that gets the weights of the whole model.

    Args:
        name: as in `openclip`.
        tag: as in `openclip`.
        required: whether weights are needed.

    Raises:
        ConfigError: `name` or `tag` is unknown.
        LookalikeError: the package is missing, or the model has no text tower.
    """
    tower, _, find_weights = _describe(import_openclip(), name, tag, required)
    if not tower.get("text"):
        raise LookalikeError(f"text_encoder.name={name}: this OpenCLIP model has no text tower")
    return {"dim": tower["dim"], "text": tower["text"], "quick_gelu": tower["quick_gelu"]}, find_weights


def _describe(
    library: Any, name: str, tag: str | None, required: bool
) -> tuple[Spec, Spec, Callable[[], Path]]:
    """A tower's arguments, its preprocessing, and a function that gets its weights."""
    defaults = vars(library.transform.PreprocessCfg())
    if name.startswith((HUB, FOLDER)):
        config, find_weights = _read_config(name)
        model, preprocess = config["model_cfg"], config.get("preprocess_cfg", {})
    else:
        model, preprocess = _named_config(library, name), _tag_config(library, name, tag, required)
        find_weights = partial(_find_published, name, preprocess)
    tower = {
        "dim": model["embed_dim"],
        "vision": model["vision_cfg"],
        "text": model.get("text_cfg", {}),
        "quick_gelu": bool(preprocess.get("quick_gelu") or model.get("quick_gelu")),
    }
    known = {key: value for key, value in preprocess.items() if key in defaults and value is not None}
    return tower, {**defaults, **known}, find_weights


def _named_config(library: Any, name: str) -> Spec:
    config = library.get_model_config(name.replace("/", "-"))
    if config is None:
        choices = nearest(name, library.list_models(), "see open_clip.list_models()")
        raise ConfigError(f"backbone.name={name}: OpenCLIP has no such model; nearest: {choices}")
    return config


def _tag_config(library: Any, name: str, tag: str | None, required: bool) -> Spec:
    """What is known of published weights; nothing where none are required and the tag is of another model.

    Raises:
        ConfigError: there are no such weights, and they are required.
    """
    name = name.replace("/", "-")
    config = library.get_pretrained_cfg(name, tag) if tag else {}
    if config:
        return dict(config)
    if not required:
        return {}
    tags = library.list_pretrained_tags_by_model(name)
    if not tags:
        raise ConfigError(
            f"backbone.name={name}: OpenCLIP publishes no weights of it; set backbone.weights=FILE or "
            "backbone.pretrained=false"
        )
    raise ConfigError(
        f"backbone.tag={tag}: OpenCLIP has no such weights of {name}; nearest: "
        f"{nearest(str(tag), tags, '')}{'; ' if nearest(str(tag), tags, '') else ''}all: {', '.join(tags)}"
    )


def _find_published(name: str, preprocess: Spec) -> Path:
    """The file of a pretrained tag, whose entry is OWNER/NAME/FILE, or OWNER/NAME/ for the usual names."""
    repository, _, file = preprocess["hf_hub"].rpartition("/")
    files = (f"{file.rpartition('.')[0]}.safetensors", file) if file else FILES
    return hub.fetch(name, repository, files)


def _read_config(name: str) -> tuple[Spec, Callable[[], Path]]:
    """The config of a folder or repository, and a function that gets its weights.

    Raises:
        LookalikeError: there is none, or it describes no model.
    """
    if name.startswith(FOLDER):
        folder = Path(name.removeprefix(FOLDER))
        file, find_weights = folder / CONFIG, partial(_find_in_folder, folder)
    else:
        repository = name.removeprefix(HUB)
        file = hub.fetch(name, repository, [CONFIG])
        find_weights = partial(hub.fetch, name, repository, FILES)
    try:
        config = parse_json(file.read_text(encoding="utf-8"))
        config["model_cfg"]["vision_cfg"], config["model_cfg"]["embed_dim"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LookalikeError(
            f"backbone.name={name}: {file} does not describe an OpenCLIP model "
            f"({type(error).__name__}: {error})"
        ) from error
    return config, find_weights


def _find_in_folder(folder: Path) -> Path:
    for file in FILES:
        if (folder / file).is_file():
            return folder / file
    raise LookalikeError(f"{folder}: holds no weights; one of these is needed: {', '.join(FILES)}")


def _tower_weights(state: State) -> State:
    """The weights of the image tower among those of a whole model; all of them if there is no `visual.`."""
    visual = {
        name.removeprefix("visual."): each for name, each in state.items() if name.startswith("visual.")
    }
    return visual or state


def _call(net: nn.Module, images: Tensor) -> Tensor:
    return net(images)


def _last_maps(net: nn.Module, images: Tensor) -> Tensor:
    return _last_features(net, images)["image_intermediates"][-1]


def _last_features(net: Any, images: Tensor, **options: bool) -> dict[str, Any]:
    normed = getattr(net, "attn_pool", None) is None  # else the last norm is that of its output
    return net.forward_intermediates(
        images, indices=1, normalize_intermediates=normed, intermediates_only=True, **options
    )
