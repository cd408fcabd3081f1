"""The job `decide`: record that photos show the same, or list and undo such decisions."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field

from lookalike.errors import ConfigError


class Config(BaseModel):
    """The keys of `lookalike decide`; their defaults are in conf/decide.yaml."""

    index: Path = Field(description="index folder made with engine=sqlite")
    kind: Literal["same", "different", "merge", "split", "undo", "list"] = Field(
        description="same: photos show the identity; different: they do not; merge: one identity is another, "
        "or gets a name; split: photos become a new identity; undo: take a decision back; list: print all"
    )
    subject: str | list[str] | None = Field(
        description="files or ids of enrolled photos; for merge, the identity that is merged or renamed"
    )
    identity: str | None = Field(description="name of the identity that is decided on")
    decision: int | None = Field(description="number of the decision to undo")
    author: str | None = Field(description="who decides; null takes the user of this computer")


def main(config: Config) -> str | None:
    """Record a decision and return its number, or print all."""
    from lookalike.search.registry import Registry

    with Registry(config.index) as registry:
        if config.kind == "list":
            for each in registry.decisions():
                undoes = "" if each.undoes is None else str(each.undoes)
                fields = (each.id, each.kind, each.subject, each.object, undoes, each.author, each.time)
                print("\t".join(map(str, fields)))
            return None
        if config.kind == "undo":
            if config.decision is None:
                raise ConfigError("kind=undo needs decision=NUMBER; kind=list prints the numbers")
            return str(registry.undo(config.decision, config.author))
        if config.subject is None or config.identity is None:
            raise ConfigError(f"kind={config.kind} needs subject= and identity=")
        return str(registry.decide(config.kind, config.subject, config.identity, config.author))
