"""One of the processes of `lookalike train processes=…`."""

from typing import Any

from lookalike.training.rank import in_rank


def _train(given: dict[str, Any]) -> None:
    import torch.distributed as dist

    from lookalike.jobs.train import Config, train_here

    train_here(Config.model_validate(given["config"]))
    dist.destroy_process_group()


if __name__ == "__main__":
    in_rank(_train)
