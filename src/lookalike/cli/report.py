"""The job `report`: a run and its evaluation become one page."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, Field

if TYPE_CHECKING:
    from lookalike.metrics.roc import Roc
    from lookalike.report.read import Evaluation, Run

log = logging.getLogger(__name__)
MOST_FOR_ROC = 20_000
"""Of more images, `lookalike plot plot=roc` draws the curve; a report should not take minutes."""


class Config(BaseModel):
    """The keys of `lookalike report`; their defaults are in conf/report.yaml."""

    run: Path | None = Field(description="run folder to show; null shows only the evaluation")
    evaluation: Path | None = Field(
        description="evaluation folder to show; null uses RUN/evaluation, which is created if it does not"
        " exist"
    )
    out: Path | None = Field(description="HTML file to write; null uses report.html in the run folder")
    worst: Annotated[int, Field(ge=0, le=100)] = Field(description="number of hardest queries to show")
    best: Annotated[int, Field(ge=0, le=100)] = Field(description="number of best queries to show")
    neighbours: Annotated[int, Field(ge=1, le=10)] = Field(description="number of hits to show per query")
    map_images: Annotated[int, Field(ge=0, le=5000)] = Field(
        description="maximum number of images on the map of embeddings; less than 4 omits the map"
    )
    thumbnail: Annotated[int, Field(ge=16, le=256)] = Field(
        description="longer side of the embedded images in pixels"
    )
    seed: int = Field(ge=0, description="random seed of the map")
    device: str | None = Field(description="device for computing a missing evaluation; null selects the best")
    progress: bool = Field(description="show progress bars")


def main(config: Config) -> Path:
    """Write the page, and return it."""
    from lookalike.errors import ConfigError
    from lookalike.report.page import Options, write_report
    from lookalike.report.read import read_evaluation, read_run

    if config.out and (config.out.suffix.lower() not in (".html", ".htm") or config.out.is_dir()):
        raise ConfigError(f"out={config.out}: the page is an .html file")
    run = read_run(config.run) if config.run else None
    folder = config.evaluation or (find_or_evaluate(run, config.device, config.progress) if run else None)
    if folder is None:
        raise ConfigError("report needs run=… or evaluation=…, for example: lookalike report run=runs/mine")
    out = config.out or (config.run or folder) / "report.html"
    options = Options(**config.model_dump(include=set(Options.__dataclass_fields__)))
    evaluation = read_evaluation(folder)
    return write_report(run, evaluation, out, options, roc_of_evaluation(evaluation, config))


def roc_of_evaluation(evaluation: "Evaluation", config: Config) -> "Roc | None":
    """The ROC curve; None without vectors, with too many of them, or with pairs of one kind only."""
    from lookalike.errors import DataError
    from lookalike.evaluation.roc import evaluation_rules, roc_by

    embeddings = evaluation.embeddings
    if embeddings is None or len(embeddings) > MOST_FOR_ROC:
        return None
    try:
        return roc_by(evaluation_rules(evaluation.config), embeddings, config.seed, config.progress)
    except DataError as error:
        log.info("no ROC curve: %s", error)
        return None


def find_or_evaluate(run: "Run", device: str | None, progress: bool) -> Path:
    """RUN/evaluation, made on the split test of the run's dataset, or val, if it is not there yet."""
    from lookalike.cli import evaluate
    from lookalike.config import load

    folder = run.folder / "evaluation"
    if not (folder / "metrics.json").is_file():
        dataset = run.config.get("dataset")
        data_dir = str(run.config.get("data_dir", "data"))
        evaluate.main(
            load(
                "evaluate",
                evaluate.Config,
                model=str(run.folder / "model"),
                dataset=dataset,
                data_dir=data_dir,
                split=best_split(run, dataset, Path(data_dir)),
                out=str(folder),
                device=device,
                progress=progress,
            )
        )
    return folder


def best_split(run: "Run", dataset: str | list[str] | None, data_dir: Path) -> str:
    """The split that says most about unseen identities.

    Raises:
        LookalikeError: the dataset is unknown, or has neither split.
    """
    from lookalike.data.datasets import read_datasets
    from lookalike.errors import LookalikeError

    if dataset is None:
        raise LookalikeError(f"{run.folder} does not say what it was trained on; give evaluation=…")
    splits = set(read_datasets(dataset, data_dir).frame["split"].unique().to_list())
    split = next((split for split in ("test", "val") if split in splits), None)
    if split is None:
        raise LookalikeError(
            f"dataset={dataset}: no images in split test or val to show results on; give evaluation=…"
        )
    return split
