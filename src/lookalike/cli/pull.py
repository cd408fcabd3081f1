"""The job `pull`: a model folder or an export comes from the Hugging Face Hub."""

from pathlib import Path

from pydantic import BaseModel, Field


class Config(BaseModel):
    """The keys of `lookalike pull`; their defaults are in conf/pull.yaml."""

    repo: str = Field(description="repository on the hub, as user/name")
    revision: str | None = Field(description="branch, tag or commit; null takes the default branch")
    out: Path = Field(description="folder to write; must not exist yet")


def main(config: Config) -> Path:
    """Download, and return the folder. The token comes from HF_TOKEN or `hf auth login`."""
    from lookalike.export.hub import pull

    return pull(config.repo, config.out, revision=config.revision)
