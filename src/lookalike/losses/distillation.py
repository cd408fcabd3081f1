"""Distillation of embeddings from a teacher to a student."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lookalike.errors import check_finite
from lookalike.losses._base import check_choice, cosine
from lookalike.losses._cosine import unit

MIN_DISTANCE = 1e-4
"""Distance below which the direction between two vectors is undefined."""
BLOCK = 2**23
"""Number of angles held in memory at a time."""

START = 0.3
"""Size of the numbers of a map as it starts: a third of those of proxies, so that at their learning rate it
turns in some tens of steps, while the student hardly follows."""

DIRECT, RELATIONAL = ("cosine", "l1", "l2"), ("relational", "similarity")


class Distillation(nn.Module):
    """Distance between the embeddings of a student and of a teacher for the same images.

    Both are normalised to unit length. Three kinds compare vectors; if the two dimensions differ, the
    student's
    embeddings first pass through a learned linear map without bias:

    - `cosine`: `1 - cos`, half the squared distance;
    - `l2`: the Euclidean distance, which is less sensitive to outliers;
    - `l1`: the sum of the absolute differences.

    Two kinds compare relations between images, so the student may have another space and dimension:

    - `relational` (Park et al., 2019, arXiv:1904.05068, RKD-DA): `H(distances) + 2 H(angles)` with H the
      Huber loss, distances between all pairs over their mean, and cosines of the angles of all triplets;
    - `similarity`: for each image the Kullback-Leibler divergence of `softmax(similarities to the others /
      temperature)` of the teacher from that of the student (after Fang et al., 2021, arXiv:2101.04731, with
      the batch in place of a queue).

    Mean over images, pairs or triplets; zero where there is none.

    Args:
        dim: dimension of the student's embeddings.
        teacher_dim: dimension of the teacher's.
        kind: one of the five.
        temperature: of `similarity`; smaller focuses on the nearest images.

    Attributes:
        projection: the linear map, or None. It is initialised as orthogonal, so that it preserves
            distances.
        takes_mixed: true; it does not depend on classes.
    """

    takes_mixed = True

    def __init__(self, dim: int, teacher_dim: int, kind: str = "cosine", temperature: float = 0.1) -> None:
        check_finite("Distillation", temperature=temperature)
        super().__init__()
        check_choice("Distillation", "kind", kind, DIRECT + RELATIONAL)
        for name, value in (("dim", dim), ("teacher_dim", teacher_dim), ("temperature", temperature)):
            if value <= 0:
                raise ValueError(f"Distillation {name} {value}: {name} must be above 0")
        self.dim, self.teacher_dim, self.kind, self.temperature = dim, teacher_dim, kind, temperature
        self.projection: nn.Linear | None = None
        if kind in DIRECT and dim != teacher_dim:
            self.projection = nn.Linear(dim, teacher_dim, bias=False)
            nn.init.orthogonal_(self.projection.weight, gain=START * max(dim, teacher_dim) ** 0.5)

    def forward(self, embeddings: Tensor, teacher: Tensor) -> Tensor:
        """Loss of the student's raw embeddings [B, dim] and the teacher's [B, teacher_dim].

        Raises:
            ValueError: if the shapes are others.
        """
        if embeddings.shape[1:] != (self.dim,) or teacher.shape != (len(embeddings), self.teacher_dim):
            shapes = f"{list(embeddings.shape)} and {list(teacher.shape)}"
            raise ValueError(
                f"Distillation: embeddings are [B, {self.dim}] and the teacher's [B, {self.teacher_dim}], "
                f"got {shapes}"
            )
        with torch.autocast(embeddings.device.type, enabled=False):
            student, target = unit(embeddings), unit(teacher.detach())
            if self.projection is not None:
                student = unit(self.projection(student))
            if not len(student):
                return student.sum()
            if self.kind == "similarity":
                return divergence(student, target, self.temperature)
            return _COMPARE[self.kind](student, target)


def _mean_cosine(student: Tensor, teacher: Tensor) -> Tensor:
    return (1 - (student * teacher).sum(dim=1)).mean()


def _mean_l1(student: Tensor, teacher: Tensor) -> Tensor:
    return (student - teacher).abs().sum(dim=1).mean()


def _mean_l2(student: Tensor, teacher: Tensor) -> Tensor:
    return torch.linalg.vector_norm(student - teacher, dim=1).mean()


def divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Mean divergence of who is like whom, for unit vectors [B, D] and [B, T]; zero below two images."""
    if len(student) < 2:
        return 0 * student.sum()
    student_log_probs, teacher_log_probs = (
        _drop_diagonal(cosine(x, x)).div(temperature).log_softmax(1) for x in (student, teacher)
    )
    return F.kl_div(student_log_probs, teacher_log_probs, reduction="batchmean", log_target=True)


def relation_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Huber losses of distances, and twice that of angles, for unit vectors [B, D] and [B, T]."""
    count = len(student)
    if count < 2:
        return 0 * student.sum()
    student_distances, teacher_distances = (_relative_distances(x) for x in (student, teacher))
    value = F.huber_loss(student_distances, teacher_distances)
    if count < 3:
        return value
    size = max(1, BLOCK // (count * max(count, student.shape[1], teacher.shape[1])))
    blocks = torch.arange(count, device=student.device).split(size)
    if len(blocks) == 1:
        angles = _angle_loss(student, teacher, blocks[0])
    else:
        again = partial(checkpoint, use_reentrant=False, preserve_rng_state=False)
        angles = torch.stack([again(_angle_loss, student, teacher, block) for block in blocks]).sum()
    return value + 2 * angles / (count * (count - 1) * (count - 2))


def _relative_distances(vectors: Tensor) -> Tensor:
    """Distances between all pairs over their mean, [B, B - 1]."""
    exact = "donot_use_mm_for_euclid_dist"
    distances = _drop_diagonal(torch.cdist(vectors, vectors, compute_mode=exact))
    return distances / distances.mean().clamp_min(MIN_DISTANCE)


def _angle_loss(student: Tensor, teacher: Tensor, corners: Tensor) -> Tensor:
    """Sum of the Huber losses of the angles with these corners, over two other images each."""
    student_angles, teacher_angles = (_angles(x, corners) for x in (student, teacher))
    same = torch.eye(len(student), dtype=torch.bool, device=student.device)
    return F.huber_loss(student_angles, teacher_angles, reduction="none").masked_fill(same, 0).sum()


def _angles(vectors: Tensor, corners: Tensor) -> Tensor:
    """Cosines [C, B, B] of the angles at the corners [C], between each two of the vectors [B, D]."""
    rays = vectors - vectors[corners][:, None]
    length = torch.linalg.vector_norm(rays, dim=2, keepdim=True)
    rays = rays * torch.where(length > MIN_DISTANCE, length.clamp_min(MIN_DISTANCE).reciprocal(), 0.0)
    return rays @ rays.mT


def _drop_diagonal(square: Tensor) -> Tensor:
    """A matrix [B, B] without its diagonal, [B, B - 1]."""
    count = len(square)
    return square.flatten()[1:].view(count - 1, count + 1)[:, :-1].reshape(count, count - 1)


_COMPARE: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cosine": _mean_cosine,
    "l1": _mean_l1,
    "l2": _mean_l2,
    "relational": relation_loss,
}
