"""Steps whose loss or gradients are NaN or infinite are skipped and saved; several in a row end the run."""

import csv
import json
import logging
import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from accelerate import Accelerator
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from lookalike.data.images import Batch
from lookalike.data.table import Table
from lookalike.errors import LookalikeError
from lookalike.files import replace_file, write_text

log = logging.getLogger(__name__)

IN_A_ROW, MAX_KEPT = 3, 10
BAD_BATCHES = "bad_batches"


@dataclass(frozen=True)
class PendingBatch:
    """A batch before its step: its loss, the images of this process, and the embeddings of all processes."""

    loss: float
    batch: Batch
    embeddings: Tensor


class NonFiniteSteps:
    """Detects non-finite steps, undoes what they changed, and saves their batches in the run folder.

    All processes come to the same decision; only the main one writes and warns. With fp16, an overflow of the
    gradients alone is left to the gradient scaler, which skips the step and lowers its scale; it counts only
    once the scale is below 1.

    Args:
        folder: the run folder.
        table: the training images.
        accelerator: of the run; gives the number of processes and the gradient scaler.
    """

    def __init__(self, folder: Path, table: Table, accelerator: Accelerator):
        self.folder, self.table, self.accelerator = folder / BAD_BATCHES, table, accelerator
        self.in_a_row, self.skipped = 0, list[int]()
        self._buffers, self._before = list[Tensor](), list[Tensor]()
        self._last: PendingBatch | None = None

    def follow(self, *modules: nn.Module) -> None:
        """Restore the buffers of these modules (batch statistics, memories) whenever a step is skipped."""
        self._buffers = [buffer for module in modules for buffer in module.buffers()]
        self._before = [buffer.clone() for buffer in self._buffers]

    def is_finite(self, value: Tensor, batch: Batch, embeddings: Tensor) -> bool:
        """Whether the loss of a batch is finite; the batch is held until its step.

        Args:
            value: the loss.
            batch: this process's images.
            embeddings: of the whole batch, all processes in order, [B, D].
        """
        number = value.item()
        if self._last is None or math.isfinite(self._last.loss):
            self._last = PendingBatch(number, batch, embeddings)
        return math.isfinite(number)

    def step_is_finite(self, gradient: Tensor, **facts: Any) -> bool:
        """Whether to take the step; if not, everything but the gradients is restored, and the batch is saved.

        Args:
            gradient: norm of all gradients, unscaled.
            facts: `step`, `epoch` and further plain values, for batch.json.

        Raises:
            LookalikeError: three steps in a row were not finite.
        """
        pending, self._last = self._last, None
        if pending is None or self._all_finite(pending.loss, gradient):
            self.in_a_row = 0
            if self._buffers:
                torch._foreach_copy_(self._before, self._buffers)
            return True
        self._undo_step()
        self.in_a_row += 1
        self.skipped.append(int(facts["step"]))
        batches = self._gather_batches(pending.batch)
        if self.accelerator.is_main_process:
            self._keep_batch(
                batches, pending, {**facts, "loss": pending.loss, "gradient_length": gradient.item()}
            )
        if self.in_a_row >= IN_A_ROW:
            raise LookalikeError(
                f"the loss or its gradients were NaN or infinite in {IN_A_ROW} steps in a row, in epoch "
                f"{facts['epoch']} (the loss is {pending.loss}). The batches are in {self.folder}; rows.csv "
                "there names the images. Lower the learning rates (lr, backbone_lr, loss_lr) or clip, or "
                "train with amp=no"
            )
        return False

    def _all_finite(self, loss: float, gradient: Tensor) -> bool:
        scaler = self.accelerator.scaler
        left_to_scaler = scaler is not None and scaler.is_enabled() and scaler.get_scale() >= 1
        good = math.isfinite(loss) and (left_to_scaler or bool(torch.isfinite(gradient)))
        if self.accelerator.num_processes > 1:
            flag = torch.tensor(int(good), device=self.accelerator.device)
            dist.all_reduce(flag, dist.ReduceOp.MIN)
            good = bool(flag)
        return good

    @torch.no_grad()
    def _undo_step(self) -> None:
        for buffer, before in zip(self._buffers, self._before, strict=True):
            buffer.copy_(before)
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.update()

    def summary(self) -> str:
        """Note on skipped steps for the epoch's row of the history; starts a new epoch."""
        steps, self.skipped = self.skipped, []
        if not steps:
            return ""
        words = "1 step was" if len(steps) == 1 else f"{len(steps)} steps were"
        named = ", ".join(map(str, steps[:5])) + (", …" if len(steps) > 5 else "")
        return f"{words} skipped, as the loss or gradients were NaN or infinite: {named}; see {BAD_BATCHES}/"

    def state_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {"in_a_row": self.in_a_row, "skipped": self.skipped}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from such a state."""
        self.in_a_row, self.skipped = state["in_a_row"], state["skipped"]

    def _gather_batches(self, batch: Batch) -> list[Batch]:
        if self.accelerator.num_processes == 1:
            return [batch]
        batches: list[Any] = [None] * self.accelerator.num_processes
        dist.all_gather_object(batches, tuple(batch))
        return [Batch(*parts) for parts in batches]

    def _keep_batch(self, batches: list[Batch], pending: PendingBatch, facts: dict[str, Any]) -> None:
        step, words = facts["step"], f"the loss is {pending.loss}"
        if math.isfinite(pending.loss):
            words += ", but its gradients are NaN or infinite"
        folder = self.folder / f"step_{step}"
        if len(list(self.folder.glob("step_*"))) >= MAX_KEPT and not folder.exists():
            log.warning("step %d is skipped: %s", step, words)
            return
        try:
            self._write(folder, batches, pending.embeddings.float().cpu(), facts)
        except OSError as error:
            log.warning("step %d is skipped: %s; its batch could not be kept: %s", step, words, error)
            return
        log.warning("step %d is skipped: %s; its batch is in %s", step, words, folder)

    def _write(self, folder: Path, batches: list[Batch], embeddings: Tensor, facts: dict[str, Any]) -> None:
        """Write rows.csv, batch.json, embeddings and images, under a temporary name first."""
        temporary = folder.with_name(f".{folder.name}.partial")
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        rows = [int(row) for batch in batches for row in batch.rows]
        images = [image for batch in batches for image in batch.images]
        lengths = embeddings.norm(dim=1).tolist() if len(embeddings) == len(rows) else [""] * len(rows)
        with (temporary / "rows.csv").open("w", encoding="utf-8", newline="") as handle:
            writer = csv.writer(handle, lineterminator="\n")
            writer.writerow(["image", "row", "path", "label", "embedding_length", "loss"])
            for number, (row, image, length) in enumerate(zip(rows, images, lengths, strict=True)):
                path, label = self.table.frame["path"][row], self.table.frame["label"][row]
                writer.writerow([f"{number:04d}.png", row, path, label, length, facts["loss"]])
                _picture(image).save(temporary / f"{number:04d}.png")
        vectors = {"embeddings": embeddings.contiguous()}
        replace_file(temporary / "embeddings.safetensors", lambda path: save_file(vectors, path))
        write_text(
            temporary / "batch.json", json.dumps({name: _plain(v) for name, v in facts.items()}, indent=2)
        )
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)


def _picture(image: Tensor) -> Image.Image:
    """A training image [3, H, W], uint8 or 0…1, as a picture."""
    pixels = image if image.dtype == torch.uint8 else (255 * image.float().nan_to_num()).clamp(0, 255).byte()
    return Image.fromarray(pixels.permute(1, 2, 0).contiguous().cpu().numpy())


def _plain(value: Any) -> Any:
    """A value for JSON, which has no NaN."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
