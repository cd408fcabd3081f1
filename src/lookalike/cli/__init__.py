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
        "Build a dataset from folders, a table, a list of URLs or a public dataset",
        "lookalike prepare source=folder source.root=photos/ out=data/mine",
    ),
    "prepare-split": Job(
        "Split a dataset again: k-fold, by class size, query and gallery, …",
        "lookalike prepare split dataset=data/mine split=kfold out=data/fold0",
    ),
    "prepare-filter": Job(
        "Select rows of a dataset by lists, image size or class size",
        "lookalike prepare filter dataset=data/mine min_images=3 out=data/large",
    ),
    "prepare-merge": Job(
        "Merge several datasets; conflicts are listed",
        "lookalike prepare merge data/a data/b out=data/both",
        words="dataset",
    ),
    "prepare-shards": Job(
        "Pack the images of a dataset into large tar files, for object stores",
        "lookalike prepare shards dataset=data/mine out=data/shards",
    ),
    "prepare-fetch": Job(
        "Download a sharded dataset to this machine, with checksums",
        "lookalike prepare fetch url=s3://bucket/shards out=data/mine",
    ),
    "prepare-stats": Job(
        "Count images, classes, sizes and formats, and plot the class sizes",
        "lookalike prepare stats dataset=data/mine",
    ),
    "prepare-sheet": Job(
        "Make an HTML page with some images of every class",
        "lookalike prepare sheet dataset=data/mine out=sheet/mine",
    ),
    "clean": Job(
        "Find duplicates, wrong labels and leaks, and propose a patch",
        "lookalike clean dataset=data/mine out=clean/mine",
    ),
    "preview": Job(
        "Show augmented training images as the model will see them",
        "lookalike preview dataset=data/mine augment=strong out=preview.png",
    ),
    "train": Job(
        "Train a model on a dataset and save the best epoch",
        "lookalike train dataset=data/mine out=runs/mine loss=triplet epochs=6",
    ),
    "recipes": Job(
        "List the recipes for training, with what each reproduces",
        "lookalike recipes nekonet_1",
        words="name",
    ),
    "align-text": Job(
        "Train a text tower for a model, so that words find images",
        "lookalike align-text model=runs/mine dataset=data/mine text=label out=named",
    ),
    "embed": Job(
        "Compute the embeddings of a dataset",
        "lookalike embed model=runs/mine/model dataset=data/mine out=emb/mine",
    ),
    "evaluate": Job(
        "Measure retrieval and verification, with confidence intervals",
        "lookalike evaluate model=runs/mine/model dataset=data/mine out=eval/mine",
    ),
    "compare": Job(
        "Compare evaluations: which differ significantly, and which do not",
        "lookalike compare eval/a eval/b out=compared",
        words="runs",
    ),
    "report": Job(
        "Write an HTML report of a run: metrics, curves, best and worst queries",
        "lookalike report run=runs/mine",
    ),
    "plot": Job(
        "Draw one figure: a map, a confusion matrix, ROC curves, hard queries, …",
        "lookalike plot plot=tsne evaluation=eval/mine out=tsne.png",
    ),
    "explore": Job(
        "Explore the embeddings on a map in the browser, and correct labels",
        "lookalike explore runs/mine",
        words="run",
    ),
    "export": Job(
        "Write a trained model as one portable ONNX file, and measure what that changes",
        "lookalike export model=runs/mine dataset=data/mine out=exports/mine",
    ),
    "info": Job(
        "Show size, cost, speed, metrics and provenance of a model",
        "lookalike info runs/mine",
        words="model",
    ),
    "push": Job(
        "Upload a model to the Hugging Face Hub",
        "lookalike push model=exports/mine repo=user/name",
    ),
    "pull": Job(
        "Download a model from the Hugging Face Hub",
        "lookalike pull repo=user/name out=models/name",
    ),
    "index": Job(
        "Build a searchable index from vectors or images",
        "lookalike index model=runs/mine/model dataset=data/mine out=index/mine",
    ),
    "index-health": Job(
        "List the enrolled photos of an index that cause false matches",
        "lookalike index health index=index/mine out=health.csv",
    ),
    "search": Job(
        "Find the nearest indexed images of a photo",
        "lookalike search index=index/mine image=photo.jpg k=5",
    ),
    "identify": Job(
        "Say who a photo shows: an indexed identity, someone new, or unsure",
        "lookalike identify index=index/mine image=photo.jpg fpir=0.01",
    ),
    "enrol": Job(
        "Add photos of one identity to an index",
        "lookalike enrol index=index/mine image=photos/tom identity=tom",
    ),
    "forget": Job(
        "Delete an identity from an index, without a trace",
        "lookalike forget index=index/mine identity=tom",
    ),
    "decide": Job(
        "Record that photos show the same identity or not; list and undo decisions",
        "lookalike decide index=index/mine kind=merge subject=new-1 identity=tom",
    ),
    "serve": Job(
        "Serve an index over HTTP, with a page to identify, enrol and correct",
        "lookalike serve index=index/mine host=127.0.0.1 port=8000",
    ),
    "cluster": Job(
        "Group unlabelled photos by individual, and estimate how many there are",
        "lookalike cluster model=runs/mine/model image=photos/ out=clusters/mine",
    ),
    "verify": Job(
        "Decide whether two photos show the same identity",
        "lookalike verify a.jpg b.jpg model=runs/mine/model",
        words="images",
    ),
    "check-loss": Job(
        "Check a loss, built-in or your own, for correctness and numerical safety",
        "lookalike check-loss loss=[triplet,arcface]",
    ),
    "demo": Job(
        "Run the main jobs on the bundled emoji, in a few minutes",
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
