"""The job `recipes`: what can follow `experiment=` in `lookalike train`."""

from pydantic import BaseModel, Field


class Config(BaseModel):
    """The keys of `lookalike recipes`; their defaults are in conf/recipes.yaml."""

    name: list[str] = Field(description="recipes to show in full; [] lists all. name= may be omitted")


def main(config: Config) -> None:
    """Print the list, or the recipes named."""
    from lookalike.config import usage

    if config.name:
        print("\n\n".join(usage.of_recipe(name) for name in config.name))
    else:
        print(usage.recipes())
