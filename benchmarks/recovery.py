"""What cleaning is worth: recall@1 on classes never seen, after training on right, wrong and cleaned labels.

    python benchmarks/recovery.py [set=grocery] [share=0.2] [share=0.4] [seeds=3] [images=30] [key=value …]

A share of the images of train gets a random other label. The table is cleaned without a review: all changes
of `patch.jsonl` are applied. Then the same recipe is trained on the right labels, the wrong ones and the
cleaned ones, with the same seed. Sets have a column `split`; `images` are used of each class. Other keys
change the recipe. Goal: at least half of the lost recall is recovered, by more than the interval.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
import yaml

import lookalike
from _common import data, show
from lookalike.clean.spaces import default_judge
from lookalike.cli.main import main as run_job
from lookalike.data.table import Table, read_table

RECIPE = {"image_size": 64, "epochs": 4, "val_share": 0}
T_TWO_SIDED = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}
"""95 % quantiles of Student's distribution for the mean of so many differences."""


def main(words: list[str]) -> None:
    """Print a row for each seed and share of errors, and what is recovered on average."""
    pairs = [word.split("=", 1) for word in words]
    shares = [float(value) for key, value in pairs if key == "share"] or [0.2, 0.4]
    keys = {key: yaml.safe_load(value) for key, value in pairs if key != "share"}
    name, seeds, images = (keys.pop(*pair) for pair in (("set", "grocery"), ("seeds", 3), ("images", 30)))
    recipe = {**RECIPE, **keys}
    train, test = _read(name, images)
    judge = lookalike.embed(default_judge(), train, progress=False)
    rows, recalls = [], {}
    for seed in range(seeds):
        right = _recall(train, test, seed, recipe)
        for share in shares:
            wrong = _with_errors(train, share, seed)
            cleaned, remaining = _clean(wrong, train, judge)
            values = [right, _recall(wrong, test, seed, recipe), _recall(cleaned, test, seed, recipe)]
            recalls.setdefault(share, []).append(values)
            rows.append(
                [f"{share:.0%}", seed, *(f"{100 * value:.1f}" for value in values), f"{remaining:.1%}"]
            )
            print(rows[-1], flush=True)
    columns = ["wrong", "seed", "right labels", "wrong labels", "cleaned", "still wrong"]
    show(f"Recall@1 on unseen classes of {name}, per cent, {recipe}", columns, rows)
    columns = ["wrong", "lost", "recovered", "95 % interval", "share recovered"]
    show("Mean of the seeds, points", columns, [[f"{share:.0%}", *_gain(recalls[share])] for share in shares])


def _read(name: str, images: int) -> tuple[Table, Table]:
    folder = data(name)
    frame = pl.read_csv(folder / "table.csv", infer_schema_length=None).with_columns(
        pl.col("label").cast(pl.String)
    )
    frame = (
        frame.sample(fraction=1.0, shuffle=True, seed=0).group_by("label", maintain_order=True).head(images)
    )
    table = Table(frame.select("path", "label", "split"), folder)
    return table.split("train"), table.split("test")


def _with_errors(train: Table, share: float, seed: int) -> Table:
    generator = np.random.default_rng(seed)
    names, codes = np.unique(train.labels.astype(str), return_inverse=True)
    rows = generator.permutation(len(codes))[: round(share * len(codes))]
    codes[rows] = (codes[rows] + generator.integers(1, len(names), len(rows))) % len(names)
    return Table(train.frame.with_columns(pl.Series("label", names[codes].tolist())), train.folder)


def _clean(wrong: Table, truth: Table, judge: lookalike.Embeddings) -> tuple[Table, float]:
    """The table with all proposed changes, and the share of its labels that are still wrong."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        absolute = wrong.relative_to("/").frame.with_columns(path="/" + pl.col("path").str.strip_prefix("/"))
        absolute.write_parquet(folder / "table.parquet")
        dirty = read_table(folder / "table.parquet")
        embeddings = lookalike.Embeddings(judge.vectors, dirty, judge.space)
        lookalike.clean(dirty, embeddings, out=folder / "clean")
        words = [
            f"patch={folder}/clean/patch.jsonl",
            f"dataset={folder}/table.parquet",
            f"out={folder}/after",
        ]
        if run_job(["prepare", *words]):
            raise SystemExit("the patch could not be applied")
        cleaned = read_table(folder / "after").relative_to("/")
    label_of = dict(zip(map(_name, truth.frame["path"]), truth.frame["label"], strict=True))
    rows = cleaned.frame.select("path", "label").iter_rows()
    is_wrong = [label != label_of[_name(path)] for path, label in rows]
    return cleaned, float(np.mean(is_wrong))


def _name(path: str) -> str:
    """The last two parts of a path, class and file, which are the same in every table."""
    return "/".join(Path(path).parts[-2:])


def _recall(train: Table, test: Table, seed: int, recipe: dict) -> float:
    with tempfile.TemporaryDirectory() as scratch:
        run = lookalike.train(train, Path(scratch) / "run", seed=seed, progress=False, **recipe)
        embeddings = lookalike.embed(lookalike.load(run), test, progress=False)
    return lookalike.evaluate(embeddings.vectors, embeddings.table.labels).metrics["recall@1"]["value"]


def _gain(values: list[list[float]]) -> list[str]:
    right, wrong, cleaned = 100 * np.array(values).T
    lost, gain = (right - wrong).mean(), cleaned - wrong
    half = (
        T_TWO_SIDED.get(len(gain), 1.96) * gain.std(ddof=1) / np.sqrt(len(gain)) if len(gain) > 1 else np.nan
    )
    interval = f"{gain.mean() - half:.1f} to {gain.mean() + half:.1f}"
    return [f"{lost:.1f}", f"{gain.mean():.1f}", interval, f"{gain.mean() / lost:.0%}"]


if __name__ == "__main__":
    main(sys.argv[1:])
