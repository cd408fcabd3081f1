"""What each step of compression costs: teacher, small student, fewer dimensions by truncation or PCA, int8.

python benchmarks/compression.py [epochs=6] [student_epochs=20] [dim=64] [image_size=64] [seed=0]

On the bundled emoji (`make demo` trains on them, too): a pretrained EfficientNet-Lite0 is the teacher, and
MobileNetV3-small of half width, from random weights, the student. It is trained on the labels alone, and with
the teacher's vectors added; all with matryoshka=. Teacher and student are then truncated, projected by a PCA
that was fitted to training images, and exported in fp32 and int8. Recall@1 and MAP@R are those of test
identities, each with its 95 % interval; milliseconds per image are of one thread at batch size 1.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

import lookalike
from _common import show
from lookalike.cli.demo import SAMPLE
from lookalike.evaluation.refine import PcaSettings, evaluate_refined
from lookalike.evaluation.result import Evaluation

STUDENT = {"backbone": "timm", "backbone.name": "mobilenetv3_small_050", "backbone.pretrained": False}
DIM = 256
METRICS = ("recall@1", "map@r")


def main() -> None:
    settings = {"epochs": 6, "student_epochs": 20, "dim": 64, "image_size": 64, "seed": 0}
    settings |= {key: int(value) for key, value in (word.split("=", 1) for word in sys.argv[1:])}
    with tempfile.TemporaryDirectory() as name:
        rows = compress(Path(name), **settings)
    columns = ("step", "dim", "model (MB)", "MB per million vectors", "ms per image", *METRICS)
    show(f"Compression on the bundled emoji, {settings}", columns, rows)


def compress(
    folder: Path, epochs: int, student_epochs: int, dim: int, image_size: int, seed: int
) -> list[tuple[str, ...]]:
    """The rows of the table."""
    table = lookalike.prepare(str(SAMPLE), out=folder / "data", progress=False)
    common = {"image_size": image_size, "dim": DIM, "seed": seed, "progress": False, "threads": 1}
    lookalike.train(table, out=folder / "teacher", epochs=epochs, matryoshka=[dim], **common)
    student = {**STUDENT, **common, "epochs": student_epochs, "matryoshka": [dim], "head_start": "random"}
    lookalike.train(table, out=folder / "alone", **student)
    lookalike.train(table, out=folder / "student", teacher=folder / "teacher", **student)
    return [
        *_variants(folder, "teacher", table, dim),
        _row("student, labels alone", _export(folder, "alone", table), table),
        *_variants(folder, "student", table, dim),
    ]


def _variants(folder: Path, run: str, table: lookalike.Table, dim: int) -> list[tuple[str, ...]]:
    """A trained model as it is, with fewer dimensions, and in int8."""
    whole = _export(folder, run, table)
    _fit_pca(whole, table, dim, folder / f"pca-{run}")
    projected = {"fold": ["preprocess", "pca"], "pca": folder / f"pca-{run}"}
    variants: dict[str, dict[str, Any]] = {
        f", first {dim} dimensions": {"dim": dim},
        f", PCA to {dim}": projected,
        ", int8": {"precision": "int8"},
        f", first {dim}, int8": {"dim": dim, "precision": "int8"},
        f", PCA to {dim}, int8": {"precision": "int8", **projected},
    }
    exports = {name: _export(folder, run, table, **options) for name, options in variants.items()}
    return [_row(run, whole, table), *(_row(run + name, file, table) for name, file in exports.items())]


def _export(folder: Path, run: str, table: lookalike.Table, **options: Any) -> Path:
    out = folder / f"{run}-{len(list(folder.iterdir()))}"
    lookalike.export(folder / run, table, out=out, max_gap=2, max_recall_loss=1, progress=False, **options)
    return out


def _fit_pca(model: Path, table: lookalike.Table, dim: int, out: Path) -> None:
    """Fit a PCA to vectors of training images, as `evaluate pca.dim=…` does."""
    loaded = lookalike.load(model)
    train = lookalike.embed(loaded, table.split("train"), progress=False, folder=model)
    test = lookalike.embed(loaded, table.split("test"), progress=False, folder=model)
    evaluation, pca = evaluate_refined(test, PcaSettings(train, "train", dim), intervals=False)
    evaluation.save(out, {"made_by": "benchmarks/compression.py"}, pca)


def _row(step: str, export: Path, table: lookalike.Table) -> tuple[str, ...]:
    facts, model = lookalike.info(export), lookalike.load(export)
    evaluation = lookalike.evaluate(lookalike.embed(model, table.split("test"), progress=False))
    cells = [_estimate(evaluation, name) for name in METRICS]
    megabytes = f"{4 * facts.dim:.0f}"
    row = (step, str(facts.dim), f"{facts.bytes / 1e6:.1f}", megabytes, f"{facts.speed[1]:.2f}", *cells)
    print(*row, flush=True)
    return row


def _estimate(evaluation: Evaluation, name: str) -> str:
    value = evaluation.metrics[name]
    return f"{100 * value['value']:.1f} % [{100 * value['low']:.1f}, {100 * value['high']:.1f}]"


if __name__ == "__main__":
    main()
