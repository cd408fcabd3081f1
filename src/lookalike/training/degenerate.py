"""Batches that break losses: a good loss is finite on them, or refuses them clearly."""

from functools import partial

import torch
from torch import Tensor

from lookalike.training.check_loss import (
    Run,
    Trial,
    Verdict,
    compare_gradients,
    compute_gradients,
    flatten_gradients,
)

FAR = 2**63 - 1
"""The largest label; those just below it are one and the same number as floats."""


def _check_finite(trial: Trial, embeddings: Tensor, labels: Tensor) -> Verdict:
    """Finite value and gradients, connected to the graph; or a clear refusal."""
    loss = trial.loss()
    if embeddings.dtype != torch.float64:
        loss = loss.float()
    try:
        value, gradient, parameter_gradients = compute_gradients(loss, embeddings, labels)
    except ValueError as error:
        return "refused", str(error)
    if not value.isfinite():
        return "wrong", f"the value is {value.item()}"
    if not all(tensor.isfinite().all() for tensor in (gradient, *parameter_gradients)):
        return "wrong", "the gradient is not finite"
    return "ok", f"{value.item():.6g}"


def check_degenerate(trial: Trial) -> dict[str, tuple[Tensor, Tensor]]:
    """Batches that hold little or nothing to learn from."""
    embeddings, labels = trial.batch()
    count, same = trial.per_class, torch.ones_like(embeddings)
    odd = (labels % 2 == 1)[:, None]
    return {
        "one image a class": (embeddings[::count], labels[::count]),
        "one class": (embeddings[:count], labels[:count]),
        "one image": (embeddings[:1], labels[:1]),
        "no image": (embeddings[:0], labels[:0]),
        "all images equal": (same, labels),
        "one class, all equal": (same, torch.zeros_like(labels)),
        "two opposite points": (torch.where(odd, -same, same), labels),
        "zero vectors": (torch.zeros_like(embeddings), labels),
        "lengths of 1e-4": (1e-4 * embeddings, labels),
        "lengths of 1e4": (1e4 * embeddings, labels),
        "unknown labels (-1)": (embeddings, torch.where(labels % 3 == 0, -1, labels)),
        "bf16": (embeddings.bfloat16(), labels),
        "fp16": (embeddings.half(), labels),
        "fp16, all images equal": (same.half(), labels),
    }


def _check_on_proxies(trial: Trial) -> Verdict:
    loss = trial.loss()
    proxies = next(
        (p.detach() for p in loss.parameters() if p.shape[-1:] == (trial.dim,) and p.ndim == 2), None
    )
    if proxies is None or len(proxies) < trial.classes:
        return "skipped", "has no proxies"
    statuses = [
        _check_finite(trial, sign * proxies[: trial.classes].double(), torch.arange(trial.classes))
        for sign in (1, -1)
    ]
    return max(statuses, key=lambda verdict: verdict[0] == "wrong")


def _check_large_labels(trial: Trial) -> Verdict:
    embeddings, labels = trial.batch()
    small_label_gradients = compute_gradients(trial.loss(), embeddings, labels)
    try:
        far = compute_gradients(trial.loss(), embeddings, labels + (FAR - trial.classes))
    except ValueError as error:
        return "refused", str(error)
    return compare_gradients(
        trial, flatten_gradients(far), flatten_gradients(small_label_gradients), "small labels"
    )


def degenerate_checks(trial: Trial) -> dict[str, Run]:
    """A check a batch, and two that need more than a batch."""
    batches = {
        name: partial(_check_finite, embeddings=embeddings, labels=labels)
        for name, (embeddings, labels) in check_degenerate(trial).items()
    }
    return {
        **batches,
        "embeddings on their proxies": _check_on_proxies,
        "labels near 2^63": _check_large_labels,
    }
