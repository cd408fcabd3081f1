"""The jobs of the command line: one module each, with `Config` (its keys) and `main`."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType


@dataclass(frozen=True)
class Job:
    """What the help says about a job.

    Attributes:
        summary: one line.
        example: a command that is right.
        words: the key that takes the arguments written without one, as a list; empty where there is none.
    """

    summary: str
    example: str
    words: str = ""


JOBS = {
    "prepare": Job(
        "Turn folders, a table, addresses or a public set into a dataset",
        "lookalike prepare source=folder source.root=photos/ out=data/mine",
    ),
    "prepare-split": Job(
        "Divide a dataset anew: k-fold, by class size, query and gallery, …",
        "lookalike prepare split dataset=data/mine split=kfold out=data/fold0",
    ),
    "prepare-filter": Job(
        "Take rows out of a dataset: by lists, size of images, size of classes",
        "lookalike prepare filter dataset=data/mine min_images=3 out=data/large",
    ),
    "prepare-merge": Job(
        "Make one dataset of several; what clashes is listed",
        "lookalike prepare merge data/a data/b out=data/both",
        words="dataset",
    ),
    "prepare-shards": Job(
        "Pack the images of a dataset into large tar files, for object stores",
        "lookalike prepare shards dataset=data/mine out=data/shards",
    ),
    "prepare-fetch": Job(
        "Copy a dataset with shards to this machine, and check every byte",
        "lookalike prepare fetch url=s3://bucket/shards out=data/mine",
    ),
    "prepare-stats": Job(
        "Count images, classes, sizes and formats, and draw the class sizes",
        "lookalike prepare stats dataset=data/mine",
    ),
    "prepare-sheet": Job(
        "Make a page to look through: some images of every class",
        "lookalike prepare sheet dataset=data/mine out=sheet/mine",
    ),
    "preview": Job(
        "Show what the model will see: images as training changes them, before training",
        "lookalike preview dataset=data/mine augment=strong out=preview.png",
    ),
    "train": Job(
        "Train a model on a dataset and keep its best state",
        "lookalike train dataset=data/mine out=runs/mine loss=triplet epochs=6",
    ),
    "recipes": Job(
        "List the recipes for training, with what each reproduces",
        "lookalike recipes nekonet_1",
        words="name",
    ),
    "embed": Job(
        "Turn the images of a dataset into vectors",
        "lookalike embed model=runs/mine/model dataset=data/mine out=emb/mine",
    ),
    "evaluate": Job(
        "Measure retrieval and verification, with intervals",
        "lookalike evaluate model=runs/mine/model dataset=data/mine out=eval/mine",
    ),
    "compare": Job(
        "Say which of several evaluations is really better, and which cannot be told apart",
        "lookalike compare eval/a eval/b out=compared",
        words="runs",
    ),
    "report": Job(
        "Show a run on one page: numbers, curves, best and worst queries",
        "lookalike report run=runs/mine",
    ),
    "plot": Job(
        "Draw one figure: a map, a confusion matrix, ROC curves, hard queries, …",
        "lookalike plot plot=tsne evaluation=eval/mine out=tsne.png",
    ),
    "explore": Job(
        "Look at the embeddings on a map in the browser, and correct labels",
        "lookalike explore runs/mine",
        words="run",
    ),
    "index": Job(
        "Build a folder that can be searched, from vectors or images",
        "lookalike index model=runs/mine/model dataset=data/mine out=index/mine",
    ),
    "search": Job(
        "Find the nearest indexed images of a photo",
        "lookalike search index=index/mine image=photo.jpg k=5",
    ),
    "verify": Job(
        "Say whether two photos show the same",
        "lookalike verify a.jpg b.jpg model=runs/mine/model",
        words="images",
    ),
    "check-loss": Job(
        "Check that a loss is right and safe, your own as well",
        "lookalike check-loss loss=[triplet,arcface]",
    ),
    "demo": Job(
        "Run all of the above on the bundled emoji, in a few minutes",
        "lookalike demo out=demo",
    ),
}


def about_job(words: Sequence[str]) -> list[str]:
    """The words of a command line with the job as one word: `prepare stats` is `prepare-stats`."""
    joined = "-".join(words[:2])
    return [joined, *words[2:]] if joined in JOBS else list(words)


def module(job: str) -> ModuleType:
    """The module of a job; what the job itself needs is imported when its `main` runs."""
    return import_module(f"lookalike.cli.{job.replace('-', '_')}")
