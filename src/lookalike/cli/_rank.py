"""One of the processes of `lookalike train processes=…`."""

from typing import Any

from lookalike.training.worker import run_as_process


def _train(arguments: dict[str, Any]) -> None:
    import torch.distributed as dist

    from lookalike.cli.train import Config, train_in_process

    train_in_process(Config.model_validate(arguments["config"]))
    dist.destroy_process_group()


if __name__ == "__main__":
    run_as_process(_train)
