"""The job `forget`: delete an identity from an index, without a trace."""

import logging
from pathlib import Path

from pydantic import BaseModel, Field

log = logging.getLogger(__name__)


class Config(BaseModel):
    """The keys of `lookalike forget`; their defaults are in conf/forget.yaml."""

    index: Path = Field(description="index folder made with engine=sqlite")
    identity: str = Field(description="name of the identity to delete; its photo files are not touched")


def main(config: Config) -> None:
    """Delete the vectors, rows and decisions of an identity from the database, its log and its snapshots."""
    from lookalike.search.registry import Registry

    with Registry(config.index) as registry:
        count = registry.forget(config.identity)
    log.info("%s: %d photos of %s are forgotten", config.index, count, config.identity)
