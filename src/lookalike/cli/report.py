"""The job `report`: one HTML page of a run and its evaluation."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, Field

if TYPE_CHECKING:
    from lookalike.report.read import Run


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
    from lookalike.report import report
    from lookalike.report.read import read_run
    from lookalike.report.request import html_file

    html_file(config.run, config.evaluation, config.out)  # before an evaluation, which may take long
    folder = config.evaluation
    if folder is None and config.run is not None:
        folder = find_or_evaluate(read_run(config.run), config.device, config.progress)
    options = config.model_dump(exclude={"run", "evaluation", "device"})
    return report(config.run, folder, **options)


def find_or_evaluate(run: "Run", device: str | None, progress: bool) -> Path:
    """RUN/evaluation; if missing, it is computed on the split test of the run's dataset, or else val."""
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
    """The split with unseen identities: test, or else val.

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
