"""Saliency of the similarity of two images."""

from collections.abc import Sequence
from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge, Gt, Le
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from lookalike.model.embedder import EmbeddingModel
from lookalike.plots.occlusion import occlusion
from lookalike.plots.style import DIFFERENT, INK, MUTED, RULE, SAME, TEXT, axes_at, paper
from lookalike.plots.text import headline, shorten_name

SIDE = 2.5
SHOWN_SIDE = 384
KEY = 0.8
"""Height of the colour key below the images, in inches."""
COARSE = 16
"""Side of the upsampled map, in cells, so that window edges are not visible."""


def saliency(
    model: EmbeddingModel,
    photos: Sequence[tuple[str, Image.Image]],
    window: Annotated[float, Gt(0), Le(1)] = 0.25,
    steps: Annotated[int, Ge(2), Le(64)] = 12,
) -> Figure:
    """Which parts make two images similar, by occlusion (see `plots.occlusion`).

    Args:
        model: in eval mode.
        photos: name and picture of two images.
        window: side of the part that is covered, as a share of the image's: small ones show details.
        steps: places of the window along each side; the time grows with their square.

    Raises:
        ValueError: there are not two photos.
    """
    if len(photos) != 2:
        raise ValueError(f"saliency: {len(photos)} photos; it compares two")
    inputs = torch.stack([model.transform()(picture) for _, picture in photos]).to(model.device)
    with torch.inference_mode():
        vectors = model(inputs)
        maps = [
            occlusion(model, image, other, window, steps)
            for image, other in zip(inputs, vectors.flip(0), strict=True)
        ]
    pictures = [Image.fromarray(image.permute(1, 2, 0).cpu().numpy()) for image in inputs]
    similarity = float(vectors[0].double() @ vectors[1].double())
    return draw_saliency([name for name, _ in photos], pictures, maps, similarity)


def draw_saliency(
    names: Sequence[str], pictures: Sequence[Image.Image], maps: Sequence[np.ndarray], similarity: float
) -> Figure:
    """Both images, with their saliency maps below: blue parts make them similar, orange parts different.

    Args:
        names: of the images.
        pictures: as the model sees them.
        maps: loss of similarity where a pixel is covered, [H, W].
        similarity: of the two.
    """
    figure = paper(2 * SIDE + 0.55, 2 * SIDE + 0.55 + KEY)
    top = figure.get_figheight()
    maximum = max(max(np.abs(values).max() for values in maps), 1e-9)
    headline(
        figure,
        f"Why these two have a similarity of {similarity:.3f}",
        describe_maps(maps),
    )
    for column, (name, picture, values) in enumerate(zip(names, pictures, maps, strict=True)):
        left = 0.15 + column * (SIDE + 0.25)
        above = axes_at(figure, left, top - SIDE - 0.25, SIDE, SIDE)
        above.set_title(shorten_name(name, 72 * SIDE), fontsize=TEXT, color=INK, pad=4)
        show_map(above, np.asarray(enlarge(picture)))
        show_map(
            axes_at(figure, left, top - 2 * SIDE - 0.4, SIDE, SIDE),
            overlay(enlarge(picture), values / maximum),
        )
    key(axes_at(figure, 0.15 + SIDE / 2, KEY - 0.16, SIDE + 0.25, 0.12), maximum)
    return figure


def describe_maps(maps: Sequence[np.ndarray]) -> str:
    """The meaning of blue and orange, and the size of the change."""
    highest, lowest = (f"{max(abs(f(values)) for values in maps):.3f}" for f in (np.max, np.min))
    rises = min(values.min() for values in maps) < 0
    orange = (
        f" Orange regions make them different: blurring one raises it by up to {lowest}." if rises else ""
    )
    return (
        "Each region of a photo was blurred in turn. Blue regions make the two similar: blurring one lowers "
        "the "
        f"similarity by up to {highest}.{orange}"
    )


def key(axes: Axes, most: float) -> None:
    """The colour bar of changes in similarity."""
    ramp = np.tile(np.linspace(-1, 1, SHOWN_SIDE), (8, 1))
    axes.imshow(overlay(Image.new("L", (SHOWN_SIDE, 8), 230), ramp), aspect="auto", extent=(-1, 1, 0, 1))
    ends = [f"makes them different\n+{most:.3f}", "no effect\n0", f"makes them similar\n−{most:.3f}"]
    axes.set_xticks([-1, 0, 1], ends, fontsize=TEXT - 1.5, color=INK)
    axes.set_xlabel("change of the similarity when the region is blurred", fontsize=TEXT - 1.5, color=MUTED)
    axes.set_yticks([])
    axes.tick_params(length=0, pad=3)
    axes.spines[:].set_color(RULE)


def enlarge(picture: Image.Image) -> Image.Image:
    """The image at its drawn size."""
    return picture.convert("RGB").resize((SHOWN_SIDE, SHOWN_SIDE), Image.Resampling.BICUBIC)


def overlay(picture: Image.Image, values: np.ndarray) -> np.ndarray:
    """The image in pale grey, overlaid with blue for positive and orange for negative values."""
    grey = 0.45 * np.asarray(picture.convert("L"), float)[..., None] / 255 + 0.55
    coarse = Image.fromarray(values.astype(np.float32)).resize((COARSE, COARSE), Image.Resampling.BOX)
    smooth = coarse.resize(picture.size, Image.Resampling.BICUBIC)
    strength = np.clip(np.asarray(smooth), -1, 1)[..., None]
    colour = np.where(strength > 0, to_rgb(SAME), to_rgb(DIFFERENT))
    depth = 0.85 * np.abs(strength)
    return np.clip(grey * (1 - depth) + colour * depth * (0.4 + 0.6 * grey), 0, 1)


def show_map(axes: Axes, pixels: np.ndarray) -> None:
    """Pixels without ticks, in a thin frame."""
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_color(RULE)
    axes.imshow(pixels, interpolation="lanczos", aspect="auto")
