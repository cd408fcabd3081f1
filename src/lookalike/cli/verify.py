"""The job `verify`: decide whether two photos show the same identity: same, different, or cannot tell."""

import json
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field

CODES = {"same": 0, "different": 3, "cannot tell": 4}


class Config(BaseModel):
    """The keys of `lookalike verify`; their defaults are in conf/verify.yaml."""

    images: list[Path] = Field(description="the two photos; images= may be omitted")
    model: Path = Field(description="model folder; the threshold is read from its operating_point.json")
    threshold: float | None = Field(
        ge=-1,
        le=1,
        description="cosine similarity from which on two photos show the same; null takes that of the model",
    )
    format: Literal["text", "json"] = Field(description="output format")
    threads: int | None = Field(
        ge=1, description="number of CPU threads for the model; null keeps the default of PyTorch"
    )
    device: str | None = Field(description="device: cpu, cuda, cuda:1 or mps; null selects the best")


def main(config: Config) -> int:
    """Print the answer, and return it as an exit code: 0 same, 3 different, 4 cannot tell."""
    from lookalike.errors import ConfigError
    from lookalike.evaluation.verify import verify
    from lookalike.machine import choose_device, configure_memory
    from lookalike.model.loading import load

    if len(config.images) != 2:
        provided = ", ".join(map(str, config.images)) or "none"
        raise ConfigError(
            f"verify compares two photos, and {len(config.images)} "
            f"{'was' if len(config.images) == 1 else 'were'} given ({provided}): lookalike verify a.jpg "
            "b.jpg "
            f"model={config.model}. To look one photo up among many: lookalike search image=a.jpg index=…"
        )
    configure_memory(config.threads)
    model = load(config.model, choose_device(config.device))
    first, second = map(str, config.images)
    verdict = verify(model, first, second, threshold=config.threshold)
    low_high = None if verdict.threshold_low is None else [verdict.threshold_low, verdict.threshold_high]
    result = {
        "answer": verdict.answer,
        "similarity": round(verdict.similarity, 6),
        "threshold": verdict.threshold,
        "cannot_tell_between": low_high,
        "far": verdict.far,
        "images": [first, second],
    }
    print(json.dumps(result, indent=2) if config.format == "json" else verdict)
    return CODES[verdict.answer]
