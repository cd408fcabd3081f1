"""The protocol of metric learning papers with intervals: two losses compared on unseen classes.

python examples/paper_protocol.py [--photos FOLDER] [--out FOLDER] [--losses NAME NAME] [--epochs N] …

The model is trained on half of the classes and evaluated on the other half, where every image is a query
among all others (Oh Song et al., 2016, arXiv:1511.06452), by recall@1, 2, 4, 8, R-precision and MAP@R
(Musgrave et al., 2020, arXiv:2003.08505). Papers print one number per loss. Here each has a 95 %
interval over the classes, and the two losses are compared on the same queries, which shows whether the
choice of classes could explain their difference.
"""

import argparse
import tempfile
from pathlib import Path

import lookalike
from lookalike.cli.main import main as run_job

EMOJI = Path(lookalike.__file__).parent / "sample" / "emoji"
METRICS = ["recall_at_k", "r_precision", "map_at_r"]


def prepare(photos: Path, out: Path) -> None:
    """Write a dataset in which half of the classes, drawn with a seed, are the test split."""
    words = ["prepare", f"source.root={photos}", f"out={out}", "split.test=0.5", "split.val=0", "seed=0"]
    if run_job([*words, "progress=false"]):
        raise SystemExit(1)


def train_and_evaluate(
    loss: str, data: Path, out: Path, epochs: int, size: int, backbone: str
) -> lookalike.Evaluation:
    """Train with one loss, and evaluate on the unseen classes."""
    keys = {"epochs": epochs, "image_size": size, "backbone": backbone, "progress": False}
    lookalike.train(str(data), out=str(out / loss), loss=loss, **keys)
    model = lookalike.load(out / loss)
    test = lookalike.read_table(data).split("test")
    embeddings = lookalike.embed(model, test, progress=False)
    result = lookalike.evaluate(embeddings, metrics=METRICS, ks=(1, 2, 4, 8))
    print(f"\n{loss}, {len(set(test.labels.tolist()))} unseen classes\n{result}")
    return result


def main() -> None:
    """Train with both losses and compare them."""
    parser = argparse.ArgumentParser(description="Compare two losses on unseen classes")
    parser.add_argument("--photos", type=Path, default=EMOJI)
    parser.add_argument("--out", type=Path, help="folder for the results; a temporary one by default")
    parser.add_argument("--losses", nargs=2, default=["triplet", "multi_similarity"])
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--size", type=int, default=64, help="side of the images in pixels")
    parser.add_argument("--backbone", default="efficientnet_lite0")
    args = parser.parse_args()

    out = args.out or Path(tempfile.mkdtemp())
    data = out / "data"
    prepare(args.photos, data)
    results = {
        loss: train_and_evaluate(loss, data, out, args.epochs, args.size, args.backbone)
        for loss in args.losses
    }
    print()
    lookalike.compare(results, metrics=["map@r", "recall@1"])


if __name__ == "__main__":
    main()
