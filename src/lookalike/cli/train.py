"""The job `train`: train a model on a dataset and write a run folder."""

import logging
from pathlib import Path
from typing import Any

from lookalike.cli._train_keys import Config

__all__ = ["Config", "main"]

log = logging.getLogger(__name__)


def main(config: Config) -> Path | None:
    """Train, or resume what was stopped, and return the run folder (in the main process).

    With `processes` above 1 this process starts so many others, and watches them.
    """
    from lookalike.training.launch import launch, must_launch
    from lookalike.training.worker import LEVEL

    if must_launch(config.processes):
        level = logging.getLogger("lookalike").getEffectiveLevel()
        arguments = {"config": config.model_dump(mode="json"), LEVEL: level}
        launch("lookalike.cli.train", arguments, config.processes or 1)
        return config.out
    return train_in_process(config)


def train_in_process(config: Config) -> Path | None:
    """`main` in this process, which may be one of several."""
    from lookalike.cli import _train_settings as unpack
    from lookalike.data.datasets import read_tables
    from lookalike.training.run import train

    is_main = train(
        read_tables=lambda: read_tables(config.dataset, config.data_dir),
        make_model=lambda: unpack.make_model(config),
        settings=unpack.train_settings(config),
        stages=unpack.settings_of_stages(config, stage_configs(config)),
        make_trackers=lambda: unpack.make_trackers(config),
        out=config.out,
        record=config.model_dump(mode="json"),
    )
    return config.out if is_main else None


def stage_configs(config: Config) -> list[Config]:
    """The values of each stage; one without `stages`.

    Raises:
        ConfigError: a stage changes what must stay for the whole run, or a value of it is wrong.
    """
    from lookalike.config import apply_changes
    from lookalike.errors import ConfigError, advise_on_stages

    configs = []
    whole = config.model_copy(update={"stages": []})
    for number, changes in enumerate(config.stages, 1):
        prefix = f"stages: stage {number}"
        for key in changes:
            name = key.split(".")[0]
            if name in type(config).model_fields and name not in config.stage_keys():
                raise ConfigError(
                    f"{prefix}: {key} holds for the whole run; a stage may change "
                    + ", ".join(config.stage_keys())
                )
        with advise_on_stages(number):
            stage = apply_changes("train", whole, changes, prefix)
        if stage.epochs < 1:
            raise ConfigError(f"{prefix}: epochs={stage.epochs}: a stage has at least one epoch")
        configs.append(stage)
    return configs or [config]


def _train_as_one_of_several(arguments: dict[str, Any]) -> None:
    """Entry point of the processes that `main` starts."""
    import torch.distributed as dist

    train_in_process(Config.model_validate(arguments["config"]))
    dist.destroy_process_group()


if __name__ == "__main__":
    from lookalike.training.worker import run_as_process

    run_as_process(_train_as_one_of_several)
