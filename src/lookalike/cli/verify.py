"""The job `verify`: do two photos show the same? Same, different, or cannot tell."""

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field

CODES = {"same": 0, "different": 3, "cannot tell": 4}


class Config(BaseModel):
    """The keys of `lookalike verify`; their defaults are in conf/verify.yaml."""

    images: list[Path] = Field(description="the two photos; may be written without images=")
    model: Path = Field(description="model folder; its operating_point.json holds the threshold")
    threshold: float | None = Field(
        ge=-1,
        le=1,
        description="cosine similarity from which on they are the same; null takes the model's own",
    )
    format: Literal["text", "json"] = Field(description="how the answer is printed")
    threads: int | None = Field(ge=1, description="CPU threads of the model; null takes what the machine has")
    device: str | None = Field(description="where to compute: cpu, cuda, cuda:1, mps; null takes the best")


def main(config: Config) -> int:
    """Print the answer, and return it as an exit code: 0 same, 3 different, 4 cannot tell."""
    from lookalike.errors import ConfigError, LookalikeError
    from lookalike.evaluation.operating_point import read_point
    from lookalike.machine import choose_device, configure_memory
    from lookalike.metrics.inputs import cosine_of
    from lookalike.model.embedder import load

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
    point = read_point(config.model, model.space) if config.threshold is None else None
    if point is None and config.threshold is None:
        raise LookalikeError(
            f"{config.model}: has no operating_point.json, which holds the similarity from which two photos "
            "are the same; training writes it where at least 3 identities are held out. To get one:\n"
            "  train with validation identities: lookalike train … val_share=0.2\n"
            "  or, of few identities, by cross-validation over the training identities, which "
            "gives the threshold of models like this one, not of this one: see docs/verify.md\n"
            "  or take threshold@far=0.001 of: lookalike evaluate "
            f"model={config.model} dataset=… split=test out=…\n"
            "  or say it yourself: threshold=0.6"
        )
    first, other = model.embed([str(image) for image in config.images])
    similarity = cosine_of(first, other)
    if point is not None:
        answer, threshold_interval = point.answer(similarity), [point.threshold_low, point.threshold_high]
    else:
        answer, threshold_interval = ("same" if similarity >= config.threshold else "different"), None  # pyrefly: ignore
    result: dict[str, Any] = {
        "answer": answer,
        "similarity": round(similarity, 6),
        "threshold": point.threshold if point else config.threshold,
        "cannot_tell_between": threshold_interval,
        "far": point.far if point else None,
        "images": [str(image) for image in config.images],
    }
    print(json.dumps(result, indent=2) if config.format == "json" else _result_text(result))
    return CODES[answer]


def _result_text(result: dict[str, Any]) -> str:
    """`same: similarity 0.812; threshold 0.640, cannot tell from 0.610 to 0.671, false accept rate 0.001`."""
    low_high, far = result["cannot_tell_between"], result["far"]
    text = f"{result['answer']}: similarity {result['similarity']:.3f}; threshold {result['threshold']:.3f}"
    if low_high is None:
        return text
    return f"{text}, cannot tell from {low_high[0]:.3f} to {low_high[1]:.3f}, false accept rate {far:.3g}"
