"""The model card of an export: README.md with metadata for model hubs, figures, and how to use the file."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lookalike.files import parse_json, write_text
from lookalike.model.licence import front_matter, licence_line
from lookalike.model.onnx_model import FILE

if TYPE_CHECKING:
    from lookalike.data.transforms import Resize
    from lookalike.model.embedder import EmbeddingModel

FILTERS = {"bicubic": "BICUBIC", "bilinear": "BILINEAR"}


def write_card(
    folder: Path, model: "EmbeddingModel", description: Mapping[str, Any], figures: Mapping[str, Any]
) -> None:
    """Write README.md.

    Args:
        folder: export folder.
        model: that was exported; what its run folder says about training is quoted.
        description: metadata of the file.
        figures: of export.json.
    """
    parts = [
        _front_matter(description),
        f"# {_title(description)}",
        _introduction(description),
        _training(model.folder),
        _figures(figures),
        _usage(model.resize, description, figures),
    ]
    write_text(folder / "README.md", "\n\n".join(part for part in parts if part) + "\n")


def _front_matter(description: Mapping[str, Any]) -> str:
    tags = ["metric-learning", "image-retrieval", "onnx", str(description["precision"])]
    return front_matter(tags, description.get("licence"))


def _title(description: Mapping[str, Any]) -> str:
    backbone = description["backbone"]
    return f"Image embeddings: {backbone.get('name', backbone.get('kind'))}, {description['dim']} dimensions"


def _introduction(description: Mapping[str, Any]) -> str:
    resize = description["preprocess"]
    return (
        f"One graph from uint8 pixels to unit vectors of dimension {description['dim']}, compared by "
        f"cosine similarity. Precision: {description['precision']}. Images are resized to {resize['size']} × "
        f"{resize['size']} ({resize['how']}, {resize['interpolation']}).\n\n"
        f"Embedding space: `{description['space']}`. Never compare its vectors with those of another one.\n\n"
        f"{licence_line(description.get('licence'))}"
    )


def _training(folder: Path | None) -> str:
    """What config.yaml and summary.json of the run say; nothing where there is no run."""
    if folder is None or not (folder.parent / "summary.json").is_file():
        return ""
    summary = parse_json((folder.parent / "summary.json").read_text(encoding="utf-8"))
    rows = [
        f"| {key.replace('_', ' ')} | {value:.4g} |" if isinstance(value, float) else f"| {key} | {value} |"
        for key, value in summary.items()
        if isinstance(value, str | int | float)
    ]
    return "## Training\n\n| | |\n|---|---|\n" + "\n".join(rows) if rows else ""


def _figures(figures: Mapping[str, Any]) -> str:
    gap = figures["gap"]
    lines = [
        "## Compared with the original model",
        "",
        f"1 − cosine between the two embeddings of an image, on {gap['images']} images: at most "
        f"{gap['max']:.1e}, {gap['mean']:.1e} on average.",
    ]
    if figures["quality"]:
        lines += ["", "| queries | gallery | recall@1 | TAR | FAR | threshold |", "|---|---|---|---|---|---|"]
        lines += [
            f"| {each['queries']} | {each['gallery']} | {each['recall_at_1']:.3f} | {each['tar']:.3f} | "
            f"{each['far']:.2g} | {each['threshold']:.3f} |"
            for each in figures["quality"]
        ]
    lines += ["", "| batch size | ms per image | PyTorch | speedup |", "|---|---|---|---|"]
    lines += [
        f"| {each['batch_size']} | {each['exported_ms']:.2f} | {each['original_ms']:.2f} | "
        f"{each['speedup']:.1f} |"
        for each in figures["speed"]
    ]
    point = figures["operating_point"]
    if point is not None:
        lines += [
            "",
            f"Two images show the same identity from a similarity of {point['threshold']:.3f} on (false "
            f"accept rate {point['far']:.2g} on {point['identities']} validation identities; 95 % interval "
            f"of the threshold {point['threshold_low']:.3f} to {point['threshold_high']:.3f}).",
        ]
    return "\n".join(lines)


def _usage(resize: "Resize", description: Mapping[str, Any], figures: Mapping[str, Any]) -> str:
    if figures["file"] != FILE:
        return (
            f'## Use\n\n```python\nimport torch\nmodel = torch.jit.load("{figures["file"]}")\n'
            f"vectors = model(images)  # uint8 [B, 3, {resize.size}, {resize.size}]\n```"
        )
    ours = (
        "With Lookalike, without PyTorch (`pip install 'lookalike[onnx]'`):\n\n```python\nimport lookalike\n"
        'model = lookalike.load("model.onnx")\nvectors = model.embed(["a.jpg", "b.jpg"])\n```'
    )
    if description["input"]["dtype"] != "uint8":
        return f"## Use\n\n{ours}"
    return f"## Use\n\n{ours}\n\nWith ONNX Runtime alone:\n\n```python\n{example(resize, description)}```"


def example(resize: "Resize", description: Mapping[str, Any]) -> str:
    """A program that needs only onnxruntime, NumPy and Pillow, and gives the vectors of `embed`."""
    any_size = bool(description["input"]["any_size"])
    name = "pixels" if any_size else "images"
    lines = [
        "import numpy as np",
        "import onnxruntime",
        "from PIL import Image, ImageOps",
        'session = onnxruntime.InferenceSession("model.onnx")',
        "def pixels(path):",
        "    image = Image.open(path)",
    ]
    if any_size:
        lines += ['    return np.asarray(ImageOps.exif_transpose(image).convert("RGB")).transpose(2, 0, 1)']
        batch = 'np.concatenate([session.run(None, {"pixels": pixels(path)[None]})[0] for path in paths])'
    else:
        lines += [
            f"    image.draft(None, ({resize.at_least}, {resize.at_least}))",
            '    image = ImageOps.exif_transpose(image).convert("RGB")',
            *_resize_lines(resize),
            "    return np.asarray(image).transpose(2, 0, 1)",
        ]
        batch = f'session.run(None, {{"{name}": np.stack([pixels(path) for path in paths])}})[0]'
    return (
        "\n".join([*lines, 'paths = ["a.jpg", "b.jpg"]', f"vectors = {batch}", "print(vectors @ vectors.T)"])
        + "\n"
    )


def _resize_lines(resize: "Resize") -> list[str]:
    size, kernel = resize.size, f"Image.Resampling.{FILTERS[resize.interpolation]}"
    if resize.how == "squash":
        return [f"    image = image.resize(({size}, {size}), {kernel})"]
    if resize.how == "crop":
        return [
            "    side, (width, height) = min(image.size), image.size",
            "    left, top = (width - side) / 2, (height - side) / 2",
            f"    image = image.resize(({size}, {size}), {kernel}, (left, top, left + side, top + side))",
        ]
    return [
        f"    scale = {size} / max(image.size)",
        f"    small = image.resize(tuple(max(1, round(side * scale)) for side in image.size), {kernel})",
        "    side = max(small.size)",
        '    image = Image.new("RGB", (side, side), (127, 127, 127))',
        "    image.paste(small, ((side - small.width) // 2, (side - small.height) // 2))",
    ]
