"""Whether the models of other systems train, evaluate, export and search, each under the name of its recipe.

python benchmarks/presets.py [image_size=64] [recipe …]

Each recipe is trained for one epoch from random weights on 20 kinds of the bundled emoji, at a small size,
then evaluated, exported to ONNX, indexed and searched. The table shows the size of the model, the gap of
the export, and whether a test image found itself; it says nothing about accuracy.
"""

import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

import lookalike
from _common import show
from lookalike.cli.demo import SAMPLE
from lookalike.cli.main import main as run_job

RECIPES = [
    "mobilenetv3l_64",
    "efficientnetv2b0_128",
    "resnet50_128",
    "convnext_tiny_128",
    "efficientnet_b1_128",
    "efficientnetv2_b1",
    "openclip_vit_b32",
    "openclip_vit_l14",
]
KINDS, IMAGES = 20, 3


def main() -> None:
    words = sys.argv[1:]
    size = next((word.partition("=")[2] for word in words if word.startswith("image_size=")), "64")
    recipes = [word for word in words if "=" not in word] or RECIPES
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind in sorted(SAMPLE.iterdir())[:KINDS]:
            (folder / "photos" / kind.name).mkdir(parents=True)
            for file in sorted(kind.glob("*.png"))[:IMAGES]:
                shutil.copy(file, folder / "photos" / kind.name)
        _run("prepare", "source=folder", f"source.root={folder / 'photos'}", f"out={folder / 'data'}")
        for recipe in recipes:
            rows.append(_try(recipe, size, folder))
            print(*rows[-1], flush=True)
            shutil.rmtree(folder / recipe)
    columns = ("recipe", "dim", "parameters (M)", "FLOPs (G)", "gap", "finds itself", "seconds")
    show(f"Recipes from random weights at {size} px", columns, rows)


def _try(recipe: str, size: str, folder: Path) -> tuple[str, ...]:
    start, out = time.perf_counter(), folder / recipe
    dataset, model = f"dataset={folder / 'data'}", f"model={out / 'run'}"
    _run(
        *("train", dataset, f"experiment={recipe}", f"out={out / 'run'}", "backbone.pretrained=false"),
        *("epochs=1", f"image_size={size}", "val_share=0", "sampler.classes_per_batch=4"),
    )
    _run("evaluate", model, dataset, f"out={out / 'eval'}")
    _run("export", model, dataset, f"out={out / 'export'}", "max_recall_loss=1")
    _run("index", f"model={out / 'export'}", dataset, "split=test", f"out={out / 'index'}")
    photo = lookalike.read_table(folder / "data").split("test").file(0)
    hits = lookalike.Index.load(out / "index").search(photo, k=1)
    facts = lookalike.info(out / "run")
    gap = json.loads((out / "export" / "export.json").read_text())["gap"]["max"]
    return (
        *(recipe, str(facts.dim), f"{(facts.parameters or 0) / 1e6:.1f}", f"{(facts.flops or 0) / 1e9:.2f}"),
        *(f"{gap:.1e}", str(Path(hits[0].path).name == photo.name), f"{time.perf_counter() - start:.0f}"),
    )


def _run(job: str, *words: str) -> None:
    code = run_job([job, *words, "progress=false"])
    if code:
        raise SystemExit(f"lookalike {job} {' '.join(words)}: exit code {code}")


if __name__ == "__main__":
    main()
