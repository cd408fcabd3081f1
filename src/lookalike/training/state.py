"""All that changes while training runs, as one state to save and to go on from."""

import hashlib
import logging
from dataclasses import asdict, astuple, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch.distributed as dist
from accelerate import Accelerator
from torch import nn
from torch.optim import Optimizer

from lookalike.data.table import Table
from lookalike.errors import ConfigError, LookalikeError, Problem, listing
from lookalike.losses.sharded import sharded_parameters
from lookalike.model.embedder import EmbeddingModel
from lookalike.training.checkpoint import Checkpoints, random_states, set_random_states
from lookalike.training.history import History, Means
from lookalike.training.judge import keep_best, validate
from lookalike.training.optimise import Average, named_rates

if TYPE_CHECKING:
    from lookalike.training.loop import Parts

log = logging.getLogger(__name__)


@dataclass
class Result:
    """What training came to: the best epoch, its score, the rows that could not be read."""

    epochs: int = 0
    best_epoch: int = 0
    best_score: float | None = None
    minutes: float = 0.0
    skipped: dict[int, Problem] = field(default_factory=dict)

    def state_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "skipped": [astuple(problem) for problem in self.skipped.values()]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        problems = [Problem(*values) for values in state["skipped"]]
        self.__dict__.update({**state, "skipped": {problem.row: problem for problem in problems}})


@dataclass
class Position:
    """Where training stands: `batch` of `epoch` comes next, `step` batches are done in all."""

    table: Table
    epoch: int = 1
    batch: int = 0
    step: int = 0


@dataclass(frozen=True)
class Training:
    """Everything that a step or an epoch changes."""

    model: EmbeddingModel
    loss: nn.Module
    optimizer: Optimizer
    averaged: Average | None
    history: History
    means: Means
    result: Result
    accelerator: Accelerator

    def end_epoch(self, parts: "Parts", folder: Path, speed: float) -> None:
        """Judge the model, keep it if it is the best so far, and write the epoch's row of the history.

        Raises:
            LookalikeError: not one image of the epoch could be read.
        """
        if self.means.count == 0:
            raise LookalikeError(
                "not one training image could be read" + listing([*self.result.skipped.values()])
            )
        judged, metric = self.averaged.model if self.averaged else self.model, parts.plan.best_metric
        scores = validate(judged, parts.validation, metric, self.result.skipped)
        rates = named_rates(self.optimizer)
        told = {"images_per_second": speed, "minutes": self.result.minutes}
        self.history.add({"epoch": self.result.epochs, **self.means.all(), **rates, **scores, **told})
        keep_best(judged, scores.get(f"val_{metric}"), folder / "model", self.result)

    def save(self, checkpoints: Checkpoints, at: Position) -> None:
        """Write a checkpoint from the main process; the others send what only they know."""
        own = {"random": random_states(self.accelerator.device)}
        if sharded_parameters(self.loss):
            own |= {"loss": dict(self.loss.state_dict()), "optimizer": self.optimizer.state_dict()}
        everyone: list[Any] = [own]
        if self.accelerator.num_processes > 1:
            everyone = [None] * self.accelerator.num_processes
            dist.all_gather_object(everyone, own)
        if self.accelerator.is_main_process:
            checkpoints.save(at.step, self._state(at, everyone))
        self.accelerator.wait_for_everyone()

    def resume(self, checkpoints: Checkpoints, table: Table) -> Position | None:
        """Take over the newest checkpoint, and say where it stands; None where there is none.

        Raises:
            ConfigError: the dataset is not the one that the run started with.
        """
        state = checkpoints.latest()
        if state is None:
            return None
        if state["table"] != fingerprint(table):
            raise ConfigError(
                f"{checkpoints.folder.parent} was started with other training images; take another out="
            )
        everyone, rank = state["everyone"], self.accelerator.process_index
        if len(everyone) != self.accelerator.num_processes:
            if "loss" in everyone[0]:
                raise ConfigError(
                    f"the run was started with {len(everyone)} processes that divide the classes: "
                    "start as many again"
                )
            log.warning(
                "the run was started with %d processes and goes on with %d: random numbers differ from here",
                *(len(everyone), self.accelerator.num_processes),
            )
        mine = everyone[min(rank, len(everyone) - 1)]
        self.model.load_state_dict(state["model"])
        self.loss.load_state_dict(mine.get("loss", state["loss"]))
        self.optimizer.load_state_dict(mine.get("optimizer", state["optimizer"]))
        if self.averaged is not None:
            self.averaged.model.load_state_dict(state["averaged"]["model"])
            self.averaged.steps = state["averaged"]["steps"]
        if self.accelerator.scaler is not None and state["scaler"]:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.history.rows = state["history"]
        self.means.load_state_dict(state["means"])
        self.result.load_state_dict(state["result"])
        set_random_states(mine["random"], self.accelerator.device)
        position = Position(table, *state["position"])
        log.info("going on from epoch %d, after %d batches of it", position.epoch, position.batch)
        return position

    def _state(self, at: Position, everyone: list[Any]) -> dict[str, Any]:
        averaged, scaler = self.averaged, self.accelerator.scaler
        return {
            "position": (at.epoch, at.batch, at.step),
            "table": fingerprint(at.table),
            "model": dict(self.model.state_dict()),
            "loss": dict(self.loss.state_dict()),
            "optimizer": self.optimizer.state_dict(),
            "averaged": averaged and {"model": dict(averaged.model.state_dict()), "steps": averaged.steps},
            "scaler": scaler and scaler.state_dict(),
            "history": self.history.rows,
            "means": self.means.state_dict(),
            "result": self.result.state_dict(),
            "everyone": everyone,
        }


def fingerprint(table: Table) -> str:
    """Which images, labels and boxes these are, in which order."""
    columns = [name for name in ("path", "label", "x1", "y1", "x2", "y2") if name in table.frame.columns]
    content = table.frame.select(columns).write_csv()
    return hashlib.sha256(content.encode()).hexdigest()
