"""Warnings about training that goes wrong, with advice."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lookalike.data.table import Table, class_ids
from lookalike.losses.modifiers import Terms
from lookalike.losses.triplet import Triplet
from lookalike.metrics.records import sign_of
from lookalike.training.history import Row

log = logging.getLogger(__name__)

ALIKE, NEARLY_ALIKE = 0.98, 0.9
"""Mean similarity of images of different classes from which embeddings have collapsed, or may be about to."""
RANK = 1.2
AT_MARGIN = 0.05
IDLE = 0.001
PATIENCE, WORSE = 3, 0.02
LOOKED_AT = 256


@dataclass(frozen=True)
class Spread:
    """How different the embeddings of a batch are.

    Attributes:
        similarity: mean cosine of images of different classes; NaN if there is one class.
        rank: effective rank, exp of the entropy of the eigenvalues of their similarity matrix (Roy and
            Vetterli, 2007); 1 if all lie on one line.
        classes: in the batch.
    """

    similarity: float
    rank: float
    classes: int

    def has_collapsed(self) -> bool:
        """Whether they are nearly one point or one line; two or three classes may rightly lie on a line."""
        return self.similarity > ALIKE or (self.classes > 3 and self.rank < RANK)


@torch.no_grad()
def embedding_spread(embeddings: Tensor, labels: Tensor) -> Spread:
    """How different the first 256 embeddings of a batch [B, D] with labels [B] are."""
    unit = F.normalize(embeddings[:LOOKED_AT].double().cpu())
    labels = labels[:LOOKED_AT].cpu()
    sim = unit @ unit.T
    is_negative = labels[:, None] != labels[None, :]
    similarity = float(sim[is_negative].mean()) if is_negative.any() else float("nan")
    whole = len(sim) and sim.isfinite().all()
    shares = torch.linalg.eigvalsh(sim).clamp_min(0) if whole else torch.full((1,), torch.nan)
    shares = shares / shares.sum()
    rank = float(torch.special.entr(shares).sum().exp())
    return Spread(similarity, rank, int(labels.unique().numel()))


class Diagnostics:
    """Examines each epoch and warns: once per cause, and again only if it had disappeared in between.

    Args:
        table: the training images.
        metric: the validation metric that chooses the model.
        epochs: of the whole run.
    """

    def __init__(self, table: Table, metric: str, epochs: int):
        ids = class_ids(table.labels)
        classes = torch.tensor([ids[label] for label in table.labels.tolist()])
        self.names, self.counts = list(ids), torch.bincount(classes, minlength=len(ids))
        self.metric, self.epochs = metric, epochs
        self.class_seen = torch.zeros(len(ids) + 1, dtype=torch.bool)
        self.warned: set[str] = set()
        self.batch = torch.empty(0, 0), torch.empty(0, dtype=torch.int64)
        self.steps = self.still = 0

    def update(self, loss: Terms) -> None:
        """Record the classes of the last batch of `loss`."""
        self.batch, labels = loss.batch, loss.batch[1]
        self.class_seen = self.class_seen.to(labels.device)
        self.class_seen[labels.remainder(len(self.class_seen))] = True  # -1, unknown, goes to the end

    def note_gradient(self, gradient: Tensor) -> None:
        """Record the norm of all gradients in a step of the optimizer."""
        self.steps, self.still = self.steps + 1, self.still + (float(gradient) == 0)

    def end_epoch(self, row: Row, earlier: Sequence[Row], loss: Terms) -> list[str]:
        """The warnings that are new in this epoch; they are logged as well.

        Args:
            row: the epoch's row of the history.
            earlier: the rows before it.
            loss: the loss, after the last batch of the epoch.
        """
        warnings = {
            **_collapse_warning(row, loss, embedding_spread(*self.batch), self.batch[0].shape[1]),
            **_idle_warning(row, loss),
            **_overfitting_warning(row, earlier, self.metric),
            **self._unseen_classes(int(row["epoch"])),
            **self._still(),
        }
        new = [text for cause, text in warnings.items() if cause not in self.warned]
        self.warned, self.steps, self.still = set(warnings), 0, 0
        for text in new:
            log.warning("epoch %s: %s", row["epoch"], text)
        return new

    def _unseen_classes(self, epoch: int) -> dict[str, str]:
        """Classes without a batch after three epochs, or at the end."""
        missing = ~self.class_seen[:-1].cpu()
        count = int(missing.sum())
        if not count or epoch < min(3, self.epochs):
            return {}
        examples = [repr(str(self.names[class_id])) for class_id in missing.nonzero().flatten()[:5].tolist()]
        single = int((missing & (self.counts == 1)).sum())
        why = (
            f"{'all' if single == count else single} of them have a single image: sampler.lonely=true or "
            "sampler=shuffle shows these"
            if single
            else "their images may be unreadable (skipped.csv), or more epochs would reach them"
        )
        return {
            "unseen": f"{count} of {len(self.names)} classes were never sampled in {epoch} epochs, such as "
            f"{', '.join(examples)}; {why}"
        }

    def _still(self) -> dict[str, str]:
        """No step had a gradient: the loss is constant, or nothing in it depends on what is trained."""
        if not self.steps or self.still < self.steps:
            return {}
        return {
            "still": f"the gradient was exactly zero in all {self.steps} steps, so nothing was learned. "
            "Check that the loss depends on the embeddings and is not constant (weights, margins, mining), "
            "and that not everything is frozen (freeze)"
        }

    def state_dict(self) -> dict[str, Any]:
        """What was recorded, and which warnings were given."""
        seen = {"seen": self.class_seen.cpu(), "given": sorted(self.warned), "batch": self.batch}
        return {**seen, "steps": self.steps, "still": self.still}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from such a state."""
        self.class_seen, self.warned, self.batch = state["seen"], set(state["given"]), state["batch"]
        self.steps, self.still = state["steps"], state["still"]


def _collapse_warning(row: Row, loss: Terms, spread: Spread, dim: int) -> dict[str, str]:
    """All embeddings alike: where a triplet loss shows it by its value, it says that."""
    stuck = [
        (name, margin)
        for name, margin in margin_statistics(loss).items()
        if abs(_share(row, loss, name) / (loss.weights[name] * margin) - 1) < AT_MARGIN
    ]
    if stuck and spread.similarity > NEARLY_ALIKE:
        name, margin = stuck[0]
        return {
            "margin": f"the loss {name} sits at its margin ({margin:.3g}), as all embeddings are alike (mean "
            f"similarity of different classes {spread.similarity:.3f}); it cannot fall from there. Lower lr "
            f"and backbone_lr, mine less hard at first (loss.{name}.mining=semi_hard), or begin with another "
            "loss, such as multi_similarity"
        }
    if not spread.has_collapsed():
        return {}
    return {
        "collapse": "embeddings have collapsed: mean similarity of different classes "
        f"{spread.similarity:.3f}, effective rank {spread.rank:.1f} of {dim}. Lower the "
        "learning rates (lr, backbone_lr, loss_lr), put more classes in a batch, add a loss that spreads "
        "embeddings, such as uniformity or koleo, or try loss=recall_at_k"
    }


def _idle_warning(row: Row, loss: Terms) -> dict[str, str]:
    """Losses whose triplets or pairs are all far enough apart."""
    idle = [
        name
        for name in loss.losses
        if isinstance(share := row.get(f"{name}_active_share"), float) and share < IDLE
    ]
    return {
        f"idle {name}": f"hardly any triplet or pair of {name} is active "
        f"({row[f'{name}_active_share']:.2%}): nothing is left to learn from these batches. If validation is "
        f"not good yet, raise loss.{name}.margin, mine harder (loss.{name}.mining=batch_hard), or put more "
        "classes in a batch (sampler.classes_per_batch)"
        for name in idle
    }


def _overfitting_warning(row: Row, earlier: Sequence[Row], metric: str) -> dict[str, str]:
    """Validation has been worse than its best for several epochs, while the training loss fell."""
    rows = [history_row for history_row in (*earlier, row) if history_row.get("stage") == row.get("stage")]
    finite_epochs = f"val_{metric}" in row or "val_loss" not in row
    column, sign = (f"val_{metric}", sign_of(metric)) if finite_epochs else ("val_loss", -1)
    scores = [sign * _number(history_row.get(column)) for history_row in rows]
    losses = [_number(history_row.get("loss")) for history_row in rows]
    present = [index for index, score in enumerate(scores) if math.isfinite(score)]
    if len(present) <= PATIENCE:
        return {}
    best = max(present, key=lambda index: scores[index])
    recent = present[-PATIENCE:]
    level = sum(scores[index] for index in recent) / PATIENCE
    worse = best < recent[0] and level < scores[best] - WORSE * abs(scores[best])
    if not worse or not losses[-1] < losses[best]:
        return {}
    then, best_loss = _number(rows[best][column]), losses[best]
    return {
        "worse": f"{column} has not been as good again since epoch {rows[best]['epoch']} ({then:.4f}, now "
        f"{_number(row[column]):.4f}), while the training loss fell from {best_loss:.4f} to "
        f"{losses[-1]:.4f}: the model learns its images by heart. Stop here, as the best epoch is kept; or "
        "use augment=strong, a lower backbone_lr, freeze, or more classes"
    }


def margin_statistics(loss: Terms) -> dict[str, float]:
    """What each triplet loss comes to when all embeddings are equal, by name of the term."""
    statistics = {}
    for name, term in loss.losses.items():
        if not loss.weights[name]:
            continue
        triplets = [part for part in term.modules() if isinstance(part, Triplet)]
        if len(triplets) == 1:
            margin = triplets[0].margin
            value = math.log1p(math.exp(margin)) if triplets[0].soft_margin else margin
            statistics |= {name: value} if value > 0 else {}
    return statistics


def _share(row: Row, loss: Terms, name: str) -> float:
    return _number(row.get(f"loss_{name}" if len(loss.losses) > 1 else "loss"))


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else float("nan")
