"""From a shelter's folder of photos to a search that tells which animal a new photo shows.

python examples/shelter.py [--photos FOLDER] [--photo FILE] [--out FOLDER] [--epochs N] …

The folder has one subfolder of photos per animal. The model learns to tell animals apart that it has never
seen, so new ones can be added to the index without training again.
"""

import argparse
import tempfile
from pathlib import Path

import lookalike
from lookalike.cli.main import main as run_job

EMOJI = Path(lookalike.__file__).parent / "sample" / "emoji"


def job(*words: str) -> None:
    """Run one job of the command line, and stop where it fails; its messages say what to do."""
    if run_job([*words, "progress=false"]):
        raise SystemExit(1)


def main() -> None:
    """Prepare, train, index, and search one photo."""
    parser = argparse.ArgumentParser(description="Train on a folder of photos and search it")
    parser.add_argument("--photos", type=Path, default=EMOJI)
    parser.add_argument(
        "--photo", type=Path, help="photo to look up; by default one of an animal not trained on"
    )
    parser.add_argument("--out", type=Path, help="folder for the results; a temporary one by default")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--size", type=int, default=64, help="side of the images in pixels")
    parser.add_argument("--backbone", default="efficientnet_lite0")
    args = parser.parse_args()

    out = args.out or Path(tempfile.mkdtemp())
    data, run, index = out / "data", out / "run", out / "index"
    # Read the folder. Unreadable files are listed in data/skipped.csv, and copies of photos are reported.
    job("prepare", f"source.root={args.photos}", f"out={data}")
    # Train. Some identities are only used to choose the best epoch, and others to test the result.
    lookalike.train(
        str(data),
        out=str(run),
        epochs=args.epochs,
        image_size=args.size,
        backbone=args.backbone,
        progress=False,
    )
    # How good is it for animals that it has never seen?
    job("evaluate", f"model={run / 'model'}", f"dataset={data}", "split=test", f"out={out / 'evaluation'}")
    # Index all photos, and look one up.
    job("index", f"model={run / 'model'}", f"dataset={data}", f"out={index}")
    photo = args.photo or lookalike.read_table(data).split("test").file(0)
    hits = lookalike.Index.load(index).search(photo, k=5)
    print(f"\n{photo} looks most like:")
    for hit in hits:
        print(f"  {hit.label}  similarity {hit.similarity:.3f}  {hit.path}")


if __name__ == "__main__":
    main()
