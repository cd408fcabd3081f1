"""The job `enrol`: add photos of one identity to an index."""

import logging
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from lookalike.errors import list_problems

log = logging.getLogger(__name__)


class Config(BaseModel):
    """The keys of `lookalike enrol`; their defaults are in conf/enrol.yaml."""

    index: Path = Field(description="index folder made with engine=sqlite")
    image: str | list[str] = Field(
        description="photo, folder of photos, or text file with one path per line; [a,b] for several; all "
        "show the same identity"
    )
    identity: str | None = Field(
        description="name of the identity; null gives it the next of new-1, new-2, …"
    )
    gate: Literal["warn", "refuse", "off"] = Field(
        description="what happens to photos that are small, blurred, a copy of an enrolled one, or like "
        "another identity: warn enrols them with a warning, refuse does not enrol them, off does not check"
    )
    validation: Path | None = Field(
        description="embeddings folder, or file of vectors with labels, of identities that the model was not "
        "trained on; null uses those in the model folder"
    )
    model: Path | None = Field(description="model folder; null uses the model named in the index")
    batch_size: Annotated[int, Field(ge=1)] = Field(description="batch size")
    threads: int | None = Field(
        ge=1, description="number of CPU threads for the model; null keeps the default of PyTorch"
    )
    device: str | None = Field(description="device: cpu, cuda, cuda:1 or mps; null selects the best")


def main(config: Config) -> str:
    """Enrol the photos, and return the name of the identity; photos that cannot be read are listed."""
    from lookalike.machine import choose_device, configure_memory
    from lookalike.search.enrol import enrol_photos
    from lookalike.search.query import find_photos

    configure_memory(config.threads)
    enrolment = enrol_photos(
        config.index,
        find_photos(config.image),
        config.identity,
        gate=config.gate,
        validation=config.validation,
        model=config.model,
        device=choose_device(config.device),
        batch_size=config.batch_size,
    )
    if enrolment.skipped:
        count, listed = len(enrolment.skipped), list_problems(enrolment.skipped)
        log.warning("%d images cannot be read and are not enrolled:%s", count, listed)
    log.info("%d photos are enrolled as %s", enrolment.photos, enrolment.identity)
    return enrolment.identity
