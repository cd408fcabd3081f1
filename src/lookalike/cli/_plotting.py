"""What plots are made of, each computed when a plot asks for it by the name of an argument."""

import inspect
import logging
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lookalike.errors import ConfigError, LookalikeError, list_problems
from lookalike.wording import count_noun

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from PIL import Image

    from lookalike.cli.plot import Config
    from lookalike.embeddings import Embeddings
    from lookalike.evaluation.evaluate import Evaluation as Evaluated
    from lookalike.metrics.roc import Roc
    from lookalike.model.embedder import EmbeddingModel
    from lookalike.report.compare_table import Comparison
    from lookalike.report.read import Evaluation, Run
    from lookalike.training.first_batch import ShownBatch

log = logging.getLogger(__name__)
PIXELS = 256
"""Longer side of a picture as it is read for a plot."""


class Inputs:
    """What the keys of the job name, read or computed once."""

    def __init__(self, config: "Config"):
        self.config = config
        sources = {
            "embeddings=": config.embeddings is not None,
            "model= with dataset=": config.model is not None and config.dataset is not None,
            "evaluation=": config.evaluation is not None,
            "run=": config.run is not None,
        }
        source_names = [name for name, is_given in sources.items() if is_given]
        if len(source_names) > 1:
            raise ConfigError(f"{' and '.join(source_names)} each say what to draw; give one of them")

    @cached_property
    def embeddings(self) -> "Embeddings":
        """The vectors and their table."""
        from lookalike.cli._embedding import load_or_compute

        if self.evaluation is not None:
            if self.evaluation.embeddings is None:
                raise LookalikeError(f"{self.evaluation.folder}: {'; '.join(self.evaluation.missing)}")
            return self.evaluation.embeddings
        requested = self.config.split
        split = [requested] if isinstance(requested, str) else requested
        if self.config.embeddings is None and self.config.dataset is None:
            raise ConfigError(
                "this plot needs vectors: give embeddings=…, evaluation=…, run=…, or model=… and dataset=…"
            )
        return load_or_compute(self.config, split or (["test"] if self.config.embeddings is None else None))

    @cached_property
    def evaluation(self) -> "Evaluation | None":
        """The evaluation that was named, or that of the run."""
        from lookalike.report.read import find_evaluation, read_evaluation

        if self.config.evaluation is not None:
            return read_evaluation(self.config.evaluation)
        return None if self.config.run is None else find_evaluation(self.config.run)

    @cached_property
    def evaluated_vectors(self) -> "Evaluated":
        """The vectors evaluated now, by the rules of the evaluation, if there is one."""
        from lookalike.evaluation.evaluate import evaluate
        from lookalike.evaluation.roc import evaluation_rules

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
    def labels(self) -> "np.ndarray":
        """The class of each vector, by the column that was named."""
        from lookalike.embeddings import classes_of

        return classes_of(self.embeddings.table, self.config.by)

    @property
    def sizes(self) -> "np.ndarray":
        """How many vectors each class has."""
        import numpy as np

        return np.unique(self.labels, return_counts=True)[1]

    @cached_property
    def per_query(self) -> "pl.DataFrame":
        """A line a query, with its neighbours."""
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
        from lookalike.data.thumbnails import Thumbnails

        return Thumbnails(self.embeddings.table, PIXELS)

    def pictures(self, rows: "Sequence[int]") -> "list[Image.Image]":
        """The images of some rows."""
        return self.thumbnails.load(rows)

    @cached_property
    def reference(self) -> "Embeddings | None":
        """Those that vote in the confusion matrix."""
        from lookalike.embeddings import load_embeddings

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
    def reference_labels(self) -> "np.ndarray | None":
        """Their classes, by the same column as those of the vectors."""
        from lookalike.embeddings import classes_of

        return None if self.reference is None else classes_of(self.reference.table, self.config.by)

    @cached_property
    def run(self) -> "Run":
        """The run that was named."""
        from lookalike.report.read import read_run

        if self.config.run is None:
            raise ConfigError("this plot shows a training run: give run=runs/mine")
        return read_run(self.config.run)

    @property
    def history(self) -> "pl.DataFrame":
        """A line an epoch."""
        if self.run.history is None:
            raise LookalikeError(f"{self.run.folder} has no history: nothing was trained")
        return self.run.history

    @property
    def best_metric(self) -> str:
        """What chose the best state."""
        return self.run.summary.get("best_metric") or self.run.config.get("best_metric") or "map@r"

    @property
    def uses(self) -> "np.ndarray":
        """How often training used each image."""
        if self.run.uses is None:
            raise LookalikeError(f"{self.run.folder} has no image_uses.csv: nothing was trained")
        return self.run.uses.to_numpy()

    @cached_property
    def roc_curves(self) -> "dict[str, Roc]":
        """The ROC curve of each run, or of the one source there is."""
        from lookalike.report.recipes import differing_parts
        from lookalike.report.same_test import evaluations_of_one_test

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

    def _roc(self, embeddings: "Embeddings", evaluation: "Evaluation | None") -> "Roc":
        from lookalike.evaluation.roc import evaluation_rules, roc_by

        rules = evaluation_rules(evaluation.config if evaluation else None)
        return roc_by(rules, embeddings, self.config.seed, self.config.progress)

    @cached_property
    def comparison(self) -> "Comparison":
        """The runs, best first, and which of them are really better."""
        from lookalike.report.comparing import compare_evaluations

        return compare_evaluations(
            self.config.runs, [self.config.metric], force=self.config.force, seed=self.config.seed
        )

    @property
    def remark(self) -> str:
        """What blue bars mean."""
        sure, many = self.comparison.level, self.comparison.identities
        identities = count_noun(many, "identity", "identities")
        return f"Blue: no other run is better ({100 * sure:g} % confidence, {identities})."

    @cached_property
    def model(self) -> "EmbeddingModel":
        """The model that was named, or that of the run."""
        from lookalike.machine import choose_device, configure_memory
        from lookalike.model.embedder import load

        if self.config.model is None and self.config.run is None:
            raise ConfigError("this plot looks at photos with a model: give model=runs/mine/model")
        configure_memory(self.config.threads)
        folder = self.config.model or Path(str(self.config.run)) / "model"
        return load(folder, choose_device(self.config.device))

    @cached_property
    def photos(self) -> "list[tuple[str, Image.Image]]":
        """The photos that were named."""
        from lookalike.data.images import open_image

        if len(self.config.images) != 2:
            raise ConfigError("this plot compares two photos: give images=[a.jpg,b.jpg]")
        return [(file.name, open_image(file, at_least=2 * PIXELS)) for file in self.config.images]

    @cached_property
    def batch(self) -> "ShownBatch":
        """The first training batch, of the run or of a dataset with the defaults of `train`."""
        from lookalike.cli import train
        from lookalike.cli._train_settings import stage_settings, train_settings
        from lookalike.config import load
        from lookalike.data.datasets import read_tables
        from lookalike.training.first_batch import load_first_batch

        dataset = self.config.dataset or (self.run.config.get("dataset") if self.config.run else None)
        if dataset is None:
            raise ConfigError("this plot shows a training batch: give run=runs/mine, or dataset=data/mine")
        values = load(
            "train", train.Config, dataset=dataset, out="unused", data_dir=str(self.config.data_dir)
        )
        if self.config.run is not None:
            train_keys = {
                key: value for key, value in self.run.config.items() if key in train.Config.model_fields
            }
            values = train.Config.model_validate(
                values.model_dump(mode="json") | train_keys | {"dataset": dataset}
            )
        tables = read_tables(values.dataset, values.data_dir)
        first_stage = stage_settings(train.stage_configs(values)[0])
        return load_first_batch(tables, train_settings(values), first_stage)

    def source(self, names: Sequence[str]) -> str:
        """Which data and which model a figure of these inputs shows."""
        from lookalike.report.comparing import find_evaluation
        from lookalike.report.source import (
            common_data,
            describe_source,
            embeddings_source,
            evaluation_source,
            run_source,
        )

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
        """Warn of images that could not be read."""
        problems = list(self.thumbnails.problems.values()) if "thumbnails" in self.__dict__ else []
        if problems:
            unread = count_noun(len(problems), "image")
            log.warning("%s cannot be read, crossed out:%s", unread, list_problems(problems))


OFFERS: dict[str, Callable[[Inputs], Any]] = {
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


def required_inputs(node: dict[str, Any]) -> list[str]:
    """The inputs that a plot asks for by its arguments, as far as the config does not give them.

    Raises:
        ConfigError: its function cannot be found.
    """
    from hydra.utils import get_object

    if "_target_" not in node:
        raise ConfigError("plot: names no _target_, so there is no function to call")
    parameters = inspect.signature(get_object(node["_target_"])).parameters
    return [name for name in OFFERS if name in parameters and name not in node]
