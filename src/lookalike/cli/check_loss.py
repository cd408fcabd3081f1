"""The job `check-loss`: whether a loss is right, in every way that training may compute it."""

from functools import partial
from typing import Annotated, Any

from pydantic import BaseModel, Field

Node = dict[str, Any]


class Config(BaseModel):
    """The keys of `lookalike check-loss`; their defaults are in conf/check-loss.yaml."""

    classes: Annotated[int, Field(ge=2, le=1024)] = Field(description="number of classes per batch")
    per_class: Annotated[int, Field(ge=1, le=64)] = Field(description="number of images per class in a batch")
    dim: Annotated[int, Field(ge=2, le=1024)] = Field(description="embedding dimension")
    tolerance: Annotated[float, Field(gt=0, lt=1)] = Field(
        description="relative tolerance of comparisons, in double precision"
    )
    loss: dict[str, Node] = Field(
        min_length=1,
        description="loss or losses to check; for your own: loss=[] +loss.mine._target_=…",
    )


def main(config: Config) -> str:
    """Check every loss, print one line per check, and return the last line.

    Raises:
        LookalikeError: a check found something wrong; the message counts it.
    """
    from rich.console import Console

    from lookalike.cli._train_settings import loss_term
    from lookalike.errors import LookalikeError
    from lookalike.training.check_loss import EQUALITY, Trial, check_all
    from lookalike.training.degenerate import degenerate_checks
    from lookalike.training.losses import build_loss

    tell, wrong = Console(highlight=False, soft_wrap=True, markup=False, emoji=False).print, []
    for name, node in config.loss.items():
        trial = Trial(
            partial(build_loss, loss_term(name, node), [config.per_class] * config.classes, config.dim),
            *(config.classes, config.per_class, config.dim, config.tolerance),
        )
        trial.make()
        tell(name)
        for finding in check_all(trial, {**EQUALITY, **degenerate_checks(trial)}):
            tell(f"  {finding.check:28} {finding.status:8} {finding.words}")
            wrong += [f"{name}: {finding.check}"] if finding.status == "wrong" else []
    if wrong:
        raise LookalikeError(f"{len(wrong)} of the checks found something wrong: {', '.join(wrong)}")
    return "nothing wrong found"
