"""Facts about run and evaluation, as a sentence and as lists, and warnings about the numbers."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from lookalike.errors import LookalikeError
from lookalike.evaluation.operating_point import OperatingPoint, read_point
from lookalike.report.numbers import as_float, value_of
from lookalike.report.read import Evaluation, Run
from lookalike.wording import count_noun

Facts = list[tuple[str, str]]
FEW_QUERIES = 200
FEW_PAIRS = 30


def title(run: Run | None, evaluation: Evaluation | None) -> str:
    """The folder's name."""
    folder = run.folder if run else evaluation.folder if evaluation else Path()
    return folder.absolute().name


def summary_sentence(run: Run | None, evaluation: Evaluation | None, images: int, classes: int) -> str:
    """A summary in one or two sentences."""
    sentences = [training_sentence(run)] if run and run.config else []
    if evaluation:
        data_text = (
            f" on {count_noun(images, 'image')} of {count_noun(classes, 'class', 'classes')}"
            if images
            else ""
        )
        dataset, split = (join_names(evaluation.config.get(key)) for key in ("dataset", "split"))
        dataset_text = f" of {dataset}" if dataset else ""
        sentences.append(f"Evaluated{data_text}{f', the split “{split}”' if split else ''}{dataset_text}.")
    return " ".join(sentences)


def training_sentence(run: Run) -> str:
    """The model, the data and the duration of training."""
    config, summary = run.config, run.summary
    parts = [node_name(config.get("backbone"))]
    losses = config.get("loss")
    if isinstance(losses, Mapping) and losses:
        parts.append(f"trained with {' + '.join(map(str, losses))}")
    epochs = summary.get("epochs", config.get("epochs"))
    if epochs == 0:
        return f"{parts[0]}, not trained."
    if epochs is not None:
        parts.append(f"for {count_noun(epochs, 'epoch')}")
    if summary.get("train_images"):
        classes = count_noun(summary.get("train_classes", 0), "class", "classes")
        parts.append(f"on {count_noun(summary['train_images'], 'image')} of {classes}")
    if summary.get("minutes") is not None:
        parts.append(f"in {duration(summary['minutes'])}")
    return " ".join(parts) + "."


def fact_lists(run: Run | None, evaluation: Evaluation | None, images: int, classes: int) -> dict[str, Facts]:
    """Facts by heading; unknown ones are left out."""
    facts = {"Model": model_facts(run), "Training": training_facts(run), "Data": data_facts(run)}
    facts["Evaluation"] = evaluation_facts(evaluation, images, classes)
    facts["Same or different"] = decision_facts(run)
    nonempty = {
        name: [(term, str(value)) for term, value in facts if value not in (None, "")]
        for name, facts in facts.items()
    }
    return {name: facts for name, facts in nonempty.items() if facts}


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
    """Training settings."""
    if not run or not run.config:
        return []
    config, summary = run.config, run.summary
    losses = config.get("loss") if isinstance(config.get("loss"), Mapping) else {}
    epochs, best_epoch = summary.get("epochs", config.get("epochs")), summary.get("best_epoch")
    rates = [
        f"{config[key]:g} {name}" for key, name in RATES.items() if isinstance(config.get(key), int | float)
    ]
    return [
        *(("Loss", loss_words(name, node)) for name, node in losses.items()),
        ("Epochs", f"{epochs}, epoch {best_epoch} kept" if best_epoch else epochs),
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
    """Training data."""
    if not run:
        return []
    summary = run.summary
    rows: list[tuple[str, Any]] = [("Dataset", join_names(run.config.get("dataset")))]
    for key, term in (("train", "Training"), ("validation", "Validation")):
        if summary.get(f"{key}_images") is not None:
            classes = count_noun(summary.get(f"{key}_classes", 0), "class", "classes")
            rows.append((term, f"{count_noun(summary[f'{key}_images'], 'image')}, {classes}"))
    return rows


def evaluation_facts(evaluation: Evaluation | None, images: int, classes: int) -> list[tuple[str, Any]]:
    """Evaluation data and protocol."""
    if not evaluation:
        return []
    metrics, config = evaluation.metrics, evaluation.config
    return [
        ("Dataset", join_names(config.get("dataset"))),
        ("Split", join_names(config.get("split"))),
        (
            "Images",
            f"{count_noun(images, 'image')}, {count_noun(classes, 'class', 'classes')}" if images else None,
        ),
        ("Queries", f"{metrics['queries']:,}" if isinstance(metrics.get("queries"), int) else None),
        ("Protocol", metrics.get("protocol")),
        ("Vector space", evaluation.embeddings.space if evaluation.embeddings else None),
    ]


def decision_facts(run: Run | None) -> list[tuple[str, Any]]:
    """The operating point of the model and its uncertainty."""
    if not run or not run.point:
        return []
    point = run.point
    tar, low, high = (f"{100 * value:.1f}" for value in (point.tar, point.tar_low, point.tar_high))
    images = count_noun(point.images, "image")
    identities = count_noun(point.identities, "identity", "identities")
    return [
        ("“Same”", f"at a similarity above {point.threshold_high:.3f}"),
        ("“Different”", f"below {point.threshold_low:.3f}; in between: cannot tell"),
        ("Threshold", f"{point.threshold:.3f}, for a false accept rate of {100 * point.far:.3g} %"),
        ("Accepts", f"{tar} % [{low}, {high}] of pairs of the same identity"),
        ("Chosen on", f"{images} of {identities} not used for training"),
    ]


def worth_knowing(run: Run | None, evaluation: Evaluation | None) -> list[str]:
    """Warnings: what limits these numbers, and what is missing."""
    return [
        *(training_limits(run) if run else []),
        *(evaluation_limits(evaluation) if evaluation else []),
        *(run.missing if run else []),
        *(evaluation.missing if evaluation else []),
    ]


def training_limits(run: Run) -> Iterator[str]:
    """Warnings about the training."""
    epochs, best_epoch = run.summary.get("epochs"), run.summary.get("best_epoch")
    if run.summary.get("status") == "stopped":
        yield f"Training was stopped after {epochs} of {run.summary.get('planned_epochs', '?')} epochs."
    if run.history is None:
        return
    if not any(name.startswith("val_") for name in run.history.columns):
        yield "There were no validation identities, so the last epoch was kept."
    elif best_epoch and best_epoch == epochs and len(run.history) > 1:
        yield "The best epoch is the last one: the score may still be rising. More epochs could help."
    losses = run.history["loss"] if "loss" in run.history.columns else pl.Series([0.0])
    if not losses.is_finite().fill_null(False).all():
        yield "The loss is NaN in some epochs."


def evaluation_limits(evaluation: Evaluation) -> Iterator[str]:
    """Warnings about the evaluation."""
    metrics = evaluation.metrics
    yield from map(note_words, metrics.get("notes") or [])
    if evaluation.config.get("split") in ("val", ["val"]):
        yield "These images were also used to select the best epoch, so the numbers are slightly optimistic."
    queries, lone = (as_float(metrics.get(key)) for key in ("queries", "lone_queries"))
    if 0 <= queries < FEW_QUERIES:
        yield f"Only {count_noun(queries, 'query', 'queries')}: differences of a few percent may be chance."
    if lone > 0 and not any("no other image" in str(note) for note in metrics.get("notes") or []):
        yield f"{count_noun(lone, 'image has', 'images have')} no other image of the same class, so no score."
    yield from pair_limits(evaluation.distances or {})


def note_words(note: Any) -> str:
    """A note of the evaluation without the keys of the command line."""
    text = str(note).replace(", or allow a coarse one (coarse_far)", "").replace(" (coarse_far)", "")
    return text[:1].upper() + text[1:]


def promise(run: Run | None, evaluation: Evaluation | None) -> str:
    """A warning if the model's own threshold exceeds its false accept rate on these images; otherwise empty.

    It does if the lower end of the interval is above the rate; without an interval, if more than twice as
    many pairs are accepted.
    """
    point = promised_point(run, evaluation)
    entry = evaluation.metrics.get("operating_far") if evaluation else None
    if point is None or not isinstance(entry, Mapping):
        return ""
    value, low = as_float(entry.get("value")), as_float(entry.get("low"))
    if not (low > point.far if low == low else value > 2 * point.far):
        return ""
    times = f", {value / point.far:,.0f} times as many" if value >= 1.5 * point.far else ""
    tar = as_float(value_of(evaluation.metrics, "operating_tar")) if evaluation else math.nan
    same = f" It accepts {share(tar)} of same-class pairs ({share(point.tar)} there)." if tar == tar else ""
    return (
        f"The model's own threshold, {point.threshold:.3f}, does not hold on these images: it accepts "
        f"{share(value)} of different-class pairs, but was chosen to accept {share(point.far)}{times}.{same} "
        f"It was chosen on {count_noun(point.images, 'image')} of "
        f"{count_noun(point.identities, 'identity', 'identities')} that differ from these. Do not rely on "
        "“same” here until you have chosen a threshold on images of this kind."
    )


def share(value: float) -> str:
    """A share in percent, small ones with two significant digits."""
    return f"{100 * value:.2g} %" if value < 0.01 else f"{100 * value:.1f} %"


def promised_point(run: Run | None, evaluation: Evaluation | None) -> OperatingPoint | None:
    """The operating point of the evaluated model, if it exists and belongs to these vectors."""
    if evaluation is None:
        return None
    embeddings = evaluation.embeddings
    folders = [
        *([embeddings.model] if embeddings and embeddings.model else []),
        *([evaluation.config["model"]] if evaluation.config.get("model") else []),
    ]
    points = [*([run.point] if run and run.point else []), *(_point(Path(str(folder))) for folder in folders)]
    own_value = as_float(value_of(evaluation.metrics, "operating_threshold"))
    return next((each for each in points if each and abs(each.threshold - own_value) < 1e-6), None)


def _point(folder: Path) -> OperatingPoint | None:
    """The operating point in a model folder; None if there is none."""
    try:
        return read_point(folder)
    except (LookalikeError, OSError):
        return None


def pair_limits(distances: Mapping[str, Any]) -> Iterator[str]:
    """A warning if the threshold depends on too few pairs."""
    far, negative = as_float(distances.get("far")), sum(distances.get("negative") or [])
    above = far * negative
    if distances.get("threshold") is not None and 0 <= above < FEW_PAIRS:
        yield (
            f"The threshold depends on only {count_noun(int(above), 'pair')} of the {negative:,} "
            f"different-class "
            "pairs, so it would change with other images."
        )


def node_name(node: Any) -> str:
    """The name of a config node, or the last part of its target."""
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
    return node_name(node) + (f" ({', '.join(words)})" if words else "")


def active(node: Any) -> Any:
    """A config node without disabled options: 0, false, and ranges without effect."""
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


def join_names(value: Any) -> str:
    """A name, or several joined."""
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value or "")


def duration(minutes: Any) -> str:
    """Minutes in words."""
    value = as_float(minutes)
    if not value >= 0:
        return "unknown time"
    seconds = round(60 * value)
    if seconds < 120:
        return count_noun(seconds, "second")
    if value < 120:
        return f"{round(value)} minutes"
    return f"{value / 60:.1f} hours"
