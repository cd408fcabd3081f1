"""What was trained on what, in a sentence and in lists, and what limits the numbers."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from lookalike.errors import LookalikeError
from lookalike.operating import Point, read_point
from lookalike.report.numbers import as_float, of
from lookalike.report.read import Evaluation, Run
from lookalike.wording import counted

Facts = list[tuple[str, str]]
FEW_QUERIES = 200
FEW_PAIRS = 30


def title(run: Run | None, evaluation: Evaluation | None) -> str:
    """The folder's name."""
    folder = run.folder if run else evaluation.folder if evaluation else Path()
    return folder.absolute().name


def sentence(run: Run | None, evaluation: Evaluation | None, images: int, classes: int) -> str:
    """One or two sentences that say what this is."""
    told = [trained(run)] if run and run.config else []
    if evaluation:
        what = f" on {counted(images, 'image')} of {counted(classes, 'class', 'classes')}" if images else ""
        dataset, split = (listed(evaluation.config.get(key)) for key in ("dataset", "split"))
        where = f" of {dataset}" if dataset else ""
        told.append(f"Evaluated{what}{f', the split “{split}”' if split else ''}{where}.")
    return " ".join(told)


def trained(run: Run) -> str:
    """What was trained on what, for how long."""
    config, summary = run.config, run.summary
    parts = [chosen(config.get("backbone"))]
    losses = config.get("loss")
    if isinstance(losses, Mapping) and losses:
        parts.append(f"trained with {' + '.join(map(str, losses))}")
    epochs = summary.get("epochs", config.get("epochs"))
    if epochs == 0:
        return f"{parts[0]}, not trained."
    if epochs is not None:
        parts.append(f"for {counted(epochs, 'epoch')}")
    if summary.get("train_images"):
        classes = counted(summary.get("train_classes", 0), "class", "classes")
        parts.append(f"on {counted(summary['train_images'], 'image')} of {classes}")
    if summary.get("minutes") is not None:
        parts.append(f"in {duration(summary['minutes'])}")
    return " ".join(parts) + "."


def fact_lists(run: Run | None, evaluation: Evaluation | None, images: int, classes: int) -> dict[str, Facts]:
    """Facts by heading; what is not known is left out."""
    found = {"Model": model_facts(run), "Training": training_facts(run), "Data": data_facts(run)}
    found["Evaluation"] = evaluation_facts(evaluation, images, classes)
    found["Same or different"] = decision_facts(run)
    known = {
        name: [(term, str(value)) for term, value in facts if value not in (None, "")]
        for name, facts in found.items()
    }
    return {name: facts for name, facts in known.items() if facts}


def model_facts(run: Run | None) -> list[tuple[str, Any]]:
    """The network."""
    if not run:
        return []
    config, summary = run.config, run.summary
    size = config.get("image_size")
    parameters = as_float(summary.get("parameters"))
    return [
        ("Backbone", with_arguments(config.get("backbone"))),
        ("Pooling", with_arguments(config.get("pooling"))),
        ("Head", with_arguments(config.get("head"))),
        ("Embedding", f"dimension {summary.get('dim', config['dim'])}" if config.get("dim") else None),
        ("Images", f"{size} × {size} pixels, {config.get('resize', '')}".rstrip(", ") if size else None),
        ("Parameters", f"{parameters:,.0f}" if parameters > 0 else None),
    ]


def training_facts(run: Run | None) -> list[tuple[str, Any]]:
    """How it learned."""
    if not run or not run.config:
        return []
    config, summary = run.config, run.summary
    losses = config.get("loss") if isinstance(config.get("loss"), Mapping) else {}
    epochs, kept = summary.get("epochs", config.get("epochs")), summary.get("best_epoch")
    rates = [
        f"{config[key]:g} {what}" for key, what in RATES.items() if isinstance(config.get(key), int | float)
    ]
    return [
        *(("Loss", loss_words(name, node)) for name, node in losses.items()),
        ("Epochs", f"{epochs}, number {kept} kept" if kept else epochs),
        ("Chosen by", f"{summary['best_metric']} on validation" if summary.get("best_metric") else None),
        ("Batches", with_arguments(config.get("sampler"))),
        ("Augmentation", with_arguments(active(config.get("augment")))),
        ("Optimiser", with_arguments(config.get("optimizer"))),
        ("Learning rates", ", ".join(rates)),
        ("Seed", config.get("seed")),
        ("Time", duration(summary["minutes"]) if summary.get("minutes") is not None else None),
        ("Device", summary.get("device")),
    ]


RATES = {"lr": "head", "backbone_lr": "backbone", "loss_lr": "loss"}


def data_facts(run: Run | None) -> list[tuple[str, Any]]:
    """What it learned from."""
    if not run:
        return []
    summary = run.summary
    rows: list[tuple[str, Any]] = [("Dataset", listed(run.config.get("dataset")))]
    for key, term in (("train", "Training"), ("validation", "Validation")):
        if summary.get(f"{key}_images") is not None:
            classes = counted(summary.get(f"{key}_classes", 0), "class", "classes")
            rows.append((term, f"{counted(summary[f'{key}_images'], 'image')}, {classes}"))
    return rows


def evaluation_facts(evaluation: Evaluation | None, images: int, classes: int) -> list[tuple[str, Any]]:
    """What it was measured on, and by which rules."""
    if not evaluation:
        return []
    metrics, config = evaluation.metrics, evaluation.config
    return [
        ("Dataset", listed(config.get("dataset"))),
        ("Split", listed(config.get("split"))),
        ("Images", f"{counted(images, 'image')}, {counted(classes, 'class', 'classes')}" if images else None),
        ("Queries", f"{metrics['queries']:,}" if isinstance(metrics.get("queries"), int) else None),
        ("Protocol", metrics.get("protocol")),
        ("Vector space", evaluation.embeddings.space if evaluation.embeddings else None),
    ]


def decision_facts(run: Run | None) -> list[tuple[str, Any]]:
    """When its model says “same”, and how sure that is."""
    if not run or not run.point:
        return []
    point = run.point
    tar, low, high = (f"{100 * value:.1f}" for value in (point.tar, point.tar_low, point.tar_high))
    images = counted(point.images, "image")
    identities = counted(point.identities, "identity", "identities")
    return [
        ("“Same”", f"from a similarity of {point.threshold_high:.3f} on"),
        ("“Different”", f"below {point.threshold_low:.3f}; between the two it cannot tell"),
        ("Threshold", f"{point.threshold:.3f}, for a false accept rate of {100 * point.far:.3g} %"),
        ("Accepts", f"{tar} % [{low}, {high}] of pairs of the same identity"),
        ("Chosen on", f"{images} of {identities} that set no weight"),
    ]


def worth_knowing(run: Run | None, evaluation: Evaluation | None) -> list[str]:
    """Plain warnings: what limits these numbers, and what is missing."""
    return [
        *(about_training(run) if run else []),
        *(about_evaluation(evaluation) if evaluation else []),
        *(run.missing if run else []),
        *(evaluation.missing if evaluation else []),
    ]


def about_training(run: Run) -> Iterator[str]:
    """What to know of the training."""
    epochs, kept = run.summary.get("epochs"), run.summary.get("best_epoch")
    if run.summary.get("status") == "stopped":
        yield f"Training was stopped after {epochs} of {run.summary.get('planned_epochs', '?')} epochs."
    if run.history is None:
        return
    if not any(name.startswith("val_") for name in run.history.columns):
        yield "There were no validation identities: the last epoch was kept, whether it was the best or not."
    elif kept and kept == epochs and len(run.history) > 1:
        yield "The best epoch is the last one: the score may not have stopped rising. More epochs could help."
    losses = run.history["loss"] if "loss" in run.history.columns else pl.Series([0.0])
    if not losses.is_finite().fill_null(False).all():
        yield "The loss is not a number in some epochs."


def about_evaluation(evaluation: Evaluation) -> Iterator[str]:
    """What to know of the evaluation."""
    metrics = evaluation.metrics
    yield from map(note_words, metrics.get("notes") or [])
    if evaluation.config.get("split") in ("val", ["val"]):
        yield "These images also chose the epoch that was kept, so the numbers are a little too good."
    queries, lone = (as_float(metrics.get(key)) for key in ("queries", "lone_queries"))
    if 0 <= queries < FEW_QUERIES:
        yield f"Only {counted(queries, 'query', 'queries')}: differences of a few percent may be chance."
    if lone > 0 and not any("no other image" in str(note) for note in metrics.get("notes") or []):
        yield f"{counted(lone, 'image has', 'images have')} no other of the same class, so no score."
    yield from about_pairs(evaluation.distances or {})


def note_words(note: Any) -> str:
    """A note of the evaluation as a sentence for readers, who do not know the keys of the command line."""
    text = str(note).replace(", or allow a coarse one (coarse_far)", "").replace(" (coarse_far)", "")
    return text[:1].upper() + text[1:]


def promise(run: Run | None, evaluation: Evaluation | None) -> str:
    """That the model's own threshold misses its false accept rate on these images; empty where it holds.

    It is missed where even the low end of the interval lies above the promised rate; without an interval,
    where more than twice as many pairs are accepted.
    """
    point = promised(run, evaluation)
    entry = evaluation.metrics.get("operating_far") if evaluation else None
    if point is None or not isinstance(entry, Mapping):
        return ""
    value, low = as_float(entry.get("value")), as_float(entry.get("low"))
    if not (low > point.far if low == low else value > 2 * point.far):
        return ""
    times = f", {value / point.far:,.0f} times as many" if value >= 1.5 * point.far else ""
    tar = as_float(of(evaluation.metrics, "operating_tar")) if evaluation else math.nan
    same = f" It accepts {share(tar)} of same-class pairs ({share(point.tar)} there)." if tar == tar else ""
    return (
        f"The model's own threshold, {point.threshold:.3f}, misses its promise on these images: it accepts "
        f"{share(value)} of different-class pairs, and was chosen to accept {share(point.far)}{times}.{same} "
        f"It was chosen on {counted(point.images, 'image')} of "
        f"{counted(point.identities, 'identity', 'identities')} that are not like these. Do not rely on "
        "“same” here before you choose a threshold on images of this kind."
    )


def share(value: float) -> str:
    """A share in per cent, small ones with two digits."""
    return f"{100 * value:.2g} %" if value < 0.01 else f"{100 * value:.1f} %"


def promised(run: Run | None, evaluation: Evaluation | None) -> Point | None:
    """The operating point of the evaluated model, if it can be found and belongs to these vectors."""
    if evaluation is None:
        return None
    embeddings = evaluation.embeddings
    folders = [
        *([embeddings.model] if embeddings and embeddings.model else []),
        *([evaluation.config["model"]] if evaluation.config.get("model") else []),
    ]
    points = [*([run.point] if run and run.point else []), *(_point(Path(str(folder))) for folder in folders)]
    own = as_float(of(evaluation.metrics, "operating_threshold"))
    return next((each for each in points if each and abs(each.threshold - own) < 1e-6), None)


def _point(folder: Path) -> Point | None:
    """The point stored in a model folder; None where there is none to read."""
    try:
        return read_point(folder)
    except (LookalikeError, OSError):
        return None


def about_pairs(distances: Mapping[str, Any]) -> Iterator[str]:
    """Whether the threshold rests on enough pairs."""
    far, negative = as_float(distances.get("far")), sum(distances.get("negative") or [])
    above = far * negative
    if distances.get("threshold") is not None and 0 <= above < FEW_PAIRS:
        yield (
            f"The threshold rests on {counted(int(above), 'pair')} of the {negative:,} different-class "
            "pairs only; other images would move it."
        )


def chosen(node: Any) -> str:
    """What a config node is, by its own name or the last part of its target."""
    if not isinstance(node, Mapping):
        return str(node or "A model")
    return str(node.get("name") or str(node.get("_target_", "a model")).rpartition(".")[2])


def with_arguments(node: Any) -> str | None:
    """A config node with its plain arguments."""
    if not isinstance(node, Mapping):
        return None if node is None else str(node)
    plain = {
        key: value for key, value in node.items() if not key.startswith("_") and key not in ("name", "weight")
    }
    words = [
        argument(key, value)
        for key, value in plain.items()
        if value is not None and not isinstance(value, Mapping)
    ]
    return chosen(node) + (f" ({', '.join(words)})" if words else "")


def active(node: Any) -> Any:
    """A config node without what is switched off: 0, false, and ranges that change nothing."""
    if not isinstance(node, Mapping):
        return node
    off = (None, False, 0, [0, 0], [1, 1])
    return {
        key: value for key, value in node.items() if key.startswith("_") or key == "name" or value not in off
    }


def argument(key: str, value: Any) -> str:
    """`pretrained`, `not pretrained`, `margin 0.1`."""
    words = key.replace("_", " ")
    if isinstance(value, bool):
        return words if value else f"not {words}"
    return f"{words} {value}"


def loss_words(name: str, node: Any) -> str:
    """A loss term, its weight where that is not 1."""
    words = with_arguments(node) if isinstance(node, Mapping) else ""
    inside = words[words.index("(") :] if words and "(" in words else ""
    weight = as_float(node.get("weight")) if isinstance(node, Mapping) else 1.0
    times = f"{weight:g} × " if weight == weight and weight != 1 else ""
    return f"{times}{name} {inside}".strip()


def listed(value: Any) -> str:
    """A name, or several joined."""
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value or "")


def duration(minutes: Any) -> str:
    """Minutes in words."""
    value = as_float(minutes)
    if not value >= 0:
        return "unknown time"
    seconds = round(60 * value)
    if seconds < 120:
        return counted(seconds, "second")
    if value < 120:
        return f"{round(value)} minutes"
    return f"{value / 60:.1f} hours"
