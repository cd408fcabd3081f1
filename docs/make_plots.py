"""Draw the pictures of docs/plots.md from a run on the bundled emoji that was evaluated, such as the demo's.

python docs/make_plots.py demo/run [name …]
"""

import sys
import tempfile
from pathlib import Path

from PIL import Image

from lookalike.cli.main import main as lookalike

FOLDER = Path(__file__).with_name("plots")
WIDEST = 900
PICTURES = {
    "similarity": ["plot.num_classes=3", "plot.per_class=4", "plot.seed=4"],
    "mosaic": ["plot.most=240", "plot.side=1700"],
    "tsne": ["plot.named=20"],
    "confusion": ["plot.most=16"],
    "confusable": ["plot.most=4"],
    "queries": ["plot.which=closest", "plot.count=4", "plot.side=112"],
    "roc": [],
    "distances": ["plot.density=true"],
}


def main(run: Path, names: list[str]) -> None:
    """One JPEG for each, at most 900 pixels wide."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        for name in names or PICTURES:
            drawn = Path(place) / f"{name}.png"
            if lookalike(
                ["plot", f"plot={name}", f"run={run}", f"out={drawn}", "progress=false", *PICTURES[name]]
            ):
                raise SystemExit(1)
            picture = Image.open(drawn).convert("RGB")
            picture.thumbnail((WIDEST, 10 * WIDEST), Image.Resampling.LANCZOS)
            picture.save(FOLDER / f"{name}.jpg", quality=74, optimize=True, progressive=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
