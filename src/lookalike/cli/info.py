"""The job `info`: size, cost, speed on this machine, metrics and provenance of a model."""

import json
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field


class Config(BaseModel):
    """The keys of `lookalike info`; their defaults are in conf/info.yaml."""

    model: list[Path] = Field(description="model folder, run folder or exported file; model= may be omitted")
    format: Literal["text", "json", "markdown"] = Field(
        description="output format; markdown makes one table of all models, for a model zoo"
    )
    threads: int | None = Field(
        ge=1, description="number of CPU threads for the model; null keeps the default of PyTorch"
    )


def main(config: Config) -> str:
    """Return the facts of each model."""
    from lookalike.export.info import info, zoo_table
    from lookalike.machine import configure_memory

    configure_memory(config.threads)
    facts = [info(model) for model in config.model]
    if config.format == "json":
        return json.dumps([each.to_dict() for each in facts], indent=2)
    return zoo_table(facts) if config.format == "markdown" else "\n\n".join(map(str, facts))
