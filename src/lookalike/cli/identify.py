"""The job `identify`: say who a photo shows: an indexed identity, someone new, or that it cannot tell."""

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, Field

from lookalike.errors import Problem, list_problems

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lookalike.search.identify import Identification

log = logging.getLogger(__name__)


class Config(BaseModel):
    """The keys of `lookalike identify`; their defaults are in conf/identify.yaml."""

    index: Path = Field(description="index folder with the enrolled identities")
    image: str | list[str] = Field(
        description="photo, folder of photos, or text file with one path per line; [a,b] for several"
    )
    encounter: bool = Field(
        description="whether all photos show the same one, as in a burst, and get one answer together"
    )
    enrol_unknown: bool = Field(
        description="whether photos of someone new are enrolled as new-1, new-2, …, which later photos join; "
        "needs an index made with engine=sqlite"
    )
    gate: Literal["warn", "refuse", "off"] = Field(
        description="for enrol_unknown: what happens to photos that are small or blurred; as in enrol"
    )
    fpir: float = Field(
        gt=0,
        lt=1,
        description="false positive identification rate: share of strangers who may be given a name; the "
        "threshold is chosen for it and for the size of the index",
    )
    validation: Path | None = Field(
        description="embeddings folder, or file of vectors with labels, of identities that the model was not "
        "trained on; null uses those in the model folder"
    )
    k: Annotated[int, Field(ge=1)] = Field(description="number of nearest identities in the JSON output")
    format: Literal["table", "json", "csv"] = Field(description="output format")
    model: Path | None = Field(description="model folder; null uses the model named in the index")
    batch_size: Annotated[int, Field(ge=1)] = Field(description="batch size")
    threads: int | None = Field(
        ge=1, description="number of CPU threads for the model; null keeps the default of PyTorch"
    )
    device: str | None = Field(description="device: cpu, cuda, cuda:1 or mps; null selects the best")


def main(config: Config) -> None:
    """Print who each photo shows; photos that cannot be read are listed on stderr."""
    from lookalike.machine import choose_device, configure_memory
    from lookalike.search.index import Index
    from lookalike.search.query import find_photos

    configure_memory(config.threads)
    skipped: list[Problem] = []
    photos = find_photos(config.image)
    device = choose_device(config.device)
    options: dict[str, Any] = {
        **config.model_dump(include={"fpir", "validation", "encounter", "k", "batch_size"}),
        "skipped": skipped,
    }
    if config.enrol_unknown:
        from lookalike.search.enrol import identify_and_enrol

        answers = identify_and_enrol(
            config.index, photos, gate=config.gate, model=config.model, device=device, **options
        )
    else:
        identified = Index.load(config.index, config.model, device).identify(photos, **options)
        answers = [identified] if config.encounter else identified
    if skipped:
        log.warning("%d of %d images cannot be read:%s", len(skipped), len(photos), list_problems(skipped))
    point = answers[0].point
    log.log(logging.WARNING if point.fpir > point.requested else logging.INFO, "%s", point)
    if config.format == "json":
        print(json.dumps([answer.to_dict() for answer in answers], indent=2))
    elif config.format == "csv":
        print(_answers_as_csv(answers), end="")
    else:
        _show_answers(answers)


def _answers_as_csv(answers: "Sequence[Identification]") -> str:
    """One line per answer, with a header; the photos of an encounter are separated by spaces."""
    from lookalike.console import to_csv

    columns = ("image", "answer", "identity", "score", "threshold", "fpir", "nearest", "path")
    rows = [
        (
            " ".join(map(str, answer.images)),
            *(answer.answer, answer.identity, round(answer.similarity, 6)),
            *(answer.point.threshold, answer.point.fpir),
            *((answer.hits[0].label, answer.hits[0].path) if answer.hits else (None, None)),
        )
        for answer in answers
    ]
    return to_csv(columns, rows)


def _show_answers(answers: "Sequence[Identification]") -> None:
    from lookalike.console import print_tables

    columns = ("answer", "identity", "score", "nearest", "path")
    tables = {
        " ".join(map(str, answer.images)): [
            (
                answer.answer,
                "-" if answer.identity is None else answer.identity,
                f"{answer.similarity:.4f}",
                answer.hits[0].label if answer.hits else "-",
                answer.hits[0].path if answer.hits else "-",
            )
        ]
        for answer in answers
    }
    print_tables("image", columns, tables)
