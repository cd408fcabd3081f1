"""The job `push`: a model folder or an export goes to the Hugging Face Hub."""

from pathlib import Path

from pydantic import BaseModel, Field


class Config(BaseModel):
    """The keys of `lookalike push`; their defaults are in conf/push.yaml."""

    model: Path = Field(description="model folder, run folder or export folder")
    repo: str = Field(description="repository on the hub, as user/name; created if it does not exist")
    private: bool = Field(description="whether a new repository is private")
    message: str = Field(description="commit message; empty takes a standard one")


def main(config: Config) -> str:
    """Upload, and return the address of the commit. The token comes from HF_TOKEN or `hf auth login`."""
    from lookalike.export.hub import push

    return push(config.model, config.repo, private=config.private, message=config.message)
