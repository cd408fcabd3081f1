"""The inputs of plots, each read or computed when a plot asks for it by the name of an argument."""

import inspect
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from PIL import Image

from lookalike.data.images import open_image
from lookalike.data.thumbnails import Thumbnails
from lookalike.embeddings import Embeddings, classes_of, load_embeddings
from lookalike.errors import ConfigError, LookalikeError, list_problems
from lookalike.evaluation.evaluate import evaluate
from lookalike.evaluation.result import Evaluation as Evaluated
from lookalike.evaluation.roc import evaluation_rules, roc_by
from lookalike.metrics.roc import Roc
from lookalike.model.embedder import EmbeddingModel
from lookalike.report.compare_table import Comparison
from lookalike.report.comparing import compare_evaluations
from lookalike.report.read import Evaluation, Run, find_evaluation, read_evaluation, read_run
from lookalike.report.recipes import differing_parts
from lookalike.report.same_test import evaluations_of_one_test
from lookalike.report.source import (
    common_data,
    describe_source,
    embeddings_source,
    evaluation_source,
    run_source,
)
from lookalike.training.first_batch import ShownBatch
from lookalike.wording import count_noun

log = logging.getLogger(__name__)
PIXELS = 256
"""Longer side of a picture as it is read for a plot."""


@dataclass(frozen=True)
class PlotSource:
    """What a plot is made from, and what reads or computes it when a plot needs it.

    Attributes:
        load_vectors: reads or computes the vectors, where no evaluation has them.
        load_model: loads the model of a folder.
        load_batch: loads the first training batch of a dataset, with the values of a run or the defaults.
        embeddings: embeddings folder or file of vectors that `load_vectors` reads.
        dataset: dataset that `load_vectors` embeds.
        split: of the dataset.
        model: model folder.
        evaluation: evaluation folder.
        run: run folder.
        runs: evaluation or run folders to compare.
        reference: embeddings folder of the reference images of a confusion matrix.
        images: two photos.
        by: column of the table that defines the classes.
        metric: per-query metric to compare runs by.
        force: compare runs even if their protocols or images differ.
        threshold: similarity of images that are considered the same; None uses that of the evaluation.
        seed: of the intervals.
        progress: show progress bars.
    """

    load_vectors: Callable[[], Embeddings]
    load_model: Callable[[Path], EmbeddingModel]
    load_batch: Callable[[Run | None, str | list[str]], ShownBatch]
    embeddings: Path | None = None
    dataset: str | list[str] | None = None
    split: str | list[str] | None = None
    model: Path | None = None
    evaluation: Path | None = None
    run: Path | None = None
    runs: Sequence[Path] = ()
    reference: Path | None = None
    images: Sequence[Path] = ()
    by: str = "label"
    metric: str = "recall@1"
    force: bool = False
    threshold: float | None = None
    seed: int = 0
    progress: bool = False

    def __post_init__(self) -> None:
        sources = {
            "embeddings=": self.embeddings is not None,
            "model= with dataset=": self.model is not None and self.dataset is not None,
            "evaluation=": self.evaluation is not None,
            "run=": self.run is not None,
        }
        names = [name for name, is_given in sources.items() if is_given]
        if len(names) > 1:
            raise ConfigError(f"{' and '.join(names)} each say what to draw; give one of them")


class PlotInputs:
    """The inputs of plots, each read or computed once, when a plot asks for it.

    Args:
        config: what they are made from.
    """

    def __init__(self, config: PlotSource):
        self.config = config

    @cached_property
    def embeddings(self) -> Embeddings:
        """The vectors and their table."""
        if self.evaluation is not None:
            if self.evaluation.embeddings is None:
                raise LookalikeError(f"{self.evaluation.folder}: {'; '.join(self.evaluation.missing)}")
            return self.evaluation.embeddings
        if self.config.embeddings is None and self.config.dataset is None:
            raise ConfigError(
                "this plot needs vectors: give embeddings=…, evaluation=…, run=…, or model=… and dataset=…"
            )
        return self.config.load_vectors()

    @cached_property
    def evaluation(self) -> Evaluation | None:
        """The evaluation, or that of the run."""
        if self.config.evaluation is not None:
            return read_evaluation(self.config.evaluation)
        return None if self.config.run is None else find_evaluation(self.config.run)

    @cached_property
    def evaluated_vectors(self) -> Evaluated:
        """The vectors evaluated now, by the rules of the evaluation, if there is one."""
        embeddings = self.embeddings
        rules = evaluation_rules(self.evaluation.config if self.evaluation else None)
        arguments = {"frame": embeddings.table.frame, "protocol": rules}
        return evaluate(
            embeddings.vectors,
            embeddings.table.labels,
            coarse_far=True,
            intervals=False,
            progress=self.config.progress,
            **arguments,
        )

    @cached_property
    def labels(self) -> np.ndarray:
        """The class of each vector, by the column `by`."""
        return classes_of(self.embeddings.table, self.config.by)

    @property
    def sizes(self) -> np.ndarray:
        """Number of vectors of each class."""
        return np.unique(self.labels, return_counts=True)[1]

    @cached_property
    def per_query(self) -> pl.DataFrame:
        """One row per query, with its neighbours."""
        stored = self.evaluation.per_query if self.evaluation else None
        return self.evaluated_vectors.per_query if stored is None else stored

    @cached_property
    def distances(self) -> dict[str, Any]:
        """Histograms of the similarities of pairs, and the threshold."""
        stored = self.evaluation.distances if self.evaluation else None
        distances = dict(self.evaluated_vectors.distances if stored is None else stored)
        if self.config.threshold is not None:
            distances |= {"threshold": self.config.threshold, "far": None}
        return distances

    @cached_property
    def thumbnails(self) -> Any:
        """Small pictures of the table's rows."""
        return Thumbnails(self.embeddings.table, PIXELS)

    def pictures(self, rows: Sequence[int]) -> list[Image.Image]:
        """The images of some rows."""
        return self.thumbnails.load(rows)

    @cached_property
    def reference(self) -> Embeddings | None:
        """The reference images of the confusion matrix."""
        if self.config.reference is None:
            return None
        embeddings = load_embeddings(self.config.reference, None)
        if embeddings.space != self.embeddings.space:
            raise LookalikeError(
                f"{self.config.reference} holds vectors of the model {embeddings.space}, the images are of "
                f"{self.embeddings.space}; embed both with one model"
            )
        return embeddings

    @property
    def reference_labels(self) -> np.ndarray | None:
        """The classes of the reference images, by the same column as those of the vectors."""
        return None if self.reference is None else classes_of(self.reference.table, self.config.by)

    @cached_property
    def run(self) -> Run:
        """The training run."""
        if self.config.run is None:
            raise ConfigError("this plot shows a training run: give run=runs/mine")
        return read_run(self.config.run)

    @property
    def history(self) -> pl.DataFrame:
        """One row per epoch."""
        if self.run.history is None:
            raise LookalikeError(f"{self.run.folder} has no history: nothing was trained")
        return self.run.history

    @property
    def best_metric(self) -> str:
        """The metric that selected the best epoch."""
        return self.run.summary.get("best_metric") or self.run.config.get("best_metric") or "map@r"

    @property
    def uses(self) -> np.ndarray:
        """Number of times that training used each image."""
        if self.run.uses is None:
            raise LookalikeError(f"{self.run.folder} has no image_uses.csv: nothing was trained")
        return self.run.uses.to_numpy()

    @cached_property
    def roc_curves(self) -> dict[str, Roc]:
        """The ROC curve of each run, or of the single source."""
        if not self.config.runs:
            return {"these images": self._roc(self.embeddings, self.evaluation)}
        curves = {}
        folders = [str(folder) for folder in self.config.runs]
        evaluations = evaluations_of_one_test(folders, self.config.force)
        for name, folder, evaluation in zip(differing_parts(folders), folders, evaluations, strict=True):
            if evaluation.embeddings is None:
                raise LookalikeError(f"{folder}: {'; '.join(evaluation.missing)}")
            curves[name] = self._roc(evaluation.embeddings, evaluation)
        return curves

    def _roc(self, embeddings: Embeddings, evaluation: Evaluation | None) -> Roc:

        rules = evaluation_rules(evaluation.config if evaluation else None)
        return roc_by(rules, embeddings, self.config.seed, self.config.progress)

    @cached_property
    def comparison(self) -> Comparison:
        """The runs, best first, and which of them are significantly better."""
        return compare_evaluations(
            self.config.runs, [self.config.metric], force=self.config.force, seed=self.config.seed
        )

    @property
    def remark(self) -> str:
        """The meaning of blue bars."""
        sure, many = self.comparison.level, self.comparison.identities
        identities = count_noun(many, "identity", "identities")
        return f"Blue: no other run is better ({100 * sure:g} % confidence, {identities})."

    @cached_property
    def model(self) -> EmbeddingModel:
        """The model, or that of the run."""
        if self.config.model is None and self.config.run is None:
            raise ConfigError("this plot looks at photos with a model: give model=runs/mine/model")
        return self.config.load_model(self.config.model or Path(str(self.config.run)) / "model")

    @cached_property
    def photos(self) -> list[tuple[str, Image.Image]]:
        """The two photos, with their names."""
        if len(self.config.images) != 2:
            raise ConfigError("this plot compares two photos: give images=[a.jpg,b.jpg]")
        return [(file.name, open_image(file, at_least=2 * PIXELS)) for file in self.config.images]

    @cached_property
    def batch(self) -> ShownBatch:
        """The first training batch, of the run or of a dataset with the defaults of `train`."""
        run = self.run if self.config.run else None
        dataset = self.config.dataset or (run.config.get("dataset") if run else None)
        if dataset is None:
            raise ConfigError("this plot shows a training batch: give run=runs/mine, or dataset=data/mine")
        return self.config.load_batch(run, dataset)

    def source(self, names: Sequence[str]) -> str:
        """The data and model that a figure of these inputs shows."""
        config = self.config
        if config.runs and {"names", "roc_curves"} & set(names):
            return common_data(find_evaluation(folder) for folder in config.runs)
        if {"history", "uses", "batch_images"} & set(names) and config.run is not None:
            return run_source(self.run)
        if self.evaluation is not None:
            return evaluation_source(self.evaluation)
        if config.embeddings is not None:
            return embeddings_source(config.embeddings, config.model)
        split = None if "batch_images" in names else config.split or "test"
        return describe_source(config.dataset, split, config.model)

    def report_problems(self) -> None:
        """Log a warning about images that could not be read."""
        problems = list(self.thumbnails.problems.values()) if "thumbnails" in self.__dict__ else []
        if problems:
            unread = count_noun(len(problems), "image")
            log.warning("%s cannot be read, crossed out:%s", unread, list_problems(problems))


OFFERS: dict[str, Callable[[PlotInputs], Any]] = {
    "vectors": lambda inputs: inputs.embeddings.vectors,
    "labels": lambda inputs: inputs.labels,
    "sizes": lambda inputs: inputs.sizes,
    "pictures": lambda inputs: inputs.pictures,
    "reference_vectors": lambda inputs: inputs.reference.vectors if inputs.reference else None,
    "reference_labels": lambda inputs: inputs.reference_labels,
    "per_query": lambda inputs: inputs.per_query,
    "distances": lambda inputs: inputs.distances,
    "far": lambda inputs: inputs.distances.get("far"),
    "threshold": lambda inputs: inputs.distances.get("threshold"),
    "roc_curves": lambda inputs: inputs.roc_curves,
    "history": lambda inputs: inputs.history,
    "best_metric": lambda inputs: inputs.best_metric,
    "best_epoch": lambda inputs: inputs.run.summary.get("best_epoch") or None,
    "uses": lambda inputs: inputs.uses,
    "names": lambda inputs: inputs.comparison.names,
    "values": lambda inputs: inputs.comparison.values[inputs.config.metric],
    "metric": lambda inputs: inputs.config.metric,
    "leaders": lambda inputs: inputs.comparison.leaders(inputs.config.metric),
    "remark": lambda inputs: inputs.remark,
    "model": lambda inputs: inputs.model,
    "photos": lambda inputs: inputs.photos,
    "batch_images": lambda inputs: inputs.batch.images,
    "batch_labels": lambda inputs: inputs.batch.labels,
}
"""What a plot may take, by the names of its arguments."""


def required_inputs(function: Callable[..., Any], known: Sequence[str] = ()) -> list[str]:
    """The inputs that a plot asks for by the names of its arguments, without those that are known."""
    parameters = inspect.signature(function).parameters
    return [name for name in OFFERS if name in parameters and name not in known]
