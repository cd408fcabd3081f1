"""`lookalike check-loss` passes right losses and finds what is wrong with others."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from lookalike.losses import ArcFace, Contrastive, ProxyAnchor, Triplet
from lookalike.training.check_loss import EQUALITY, Trial, check_all
from lookalike.training.degenerate import degenerate_checks

HERE = {name: check for name, check in EQUALITY.items() if name != "two processes"}


def statuses(make):
    trial = Trial(make)
    return {f.check: f.status for f in check_all(trial, {**HERE, **degenerate_checks(trial)})}


def wrong(make):
    return {check for check, status in statuses(make).items() if status == "wrong"}


@pytest.mark.parametrize("make", [Contrastive, lambda: Triplet("semi_hard"), lambda: ProxyAnchor(8, 16)])
def test_a_right_loss_passes(make):
    assert wrong(make) == set()


def test_what_does_not_apply_is_said():
    found = statuses(lambda: ArcFace(8, 16))
    assert found["memory"] == "skipped"
    assert found["unknown labels (-1)"] == found["labels near 2^63"] == "refused"


def distances(embeddings, labels):
    """Euclidean on the unit sphere, with all the usual mistakes."""
    unit = nn.functional.normalize(embeddings)
    return torch.cdist(unit, unit), labels[:, None] == labels[None, :]


class Unsafe(nn.Module):
    def forward(self, embeddings, labels):
        unit = nn.functional.normalize(embeddings)
        far = (2 - 2 * unit @ unit.T).sqrt()
        return (far * (labels[:, None] == labels[None, :])).mean()


class Cut(nn.Module):
    def forward(self, embeddings, labels):
        far, same = distances(embeddings, labels)
        return (far * same).mean() + (1 - far.detach()).relu()[~same].sum() * embeddings.square().mean()


class FloatLabels(nn.Module):
    def forward(self, embeddings, labels):
        far, _ = distances(embeddings, labels)
        return far[labels.float()[:, None] == labels.float()[None, :]].sum()


class NoMean(nn.Module):
    def forward(self, embeddings, labels):
        far, same = distances(embeddings, labels)
        return far[same].mean() - far[~same].mean()


class Forgotten(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, embeddings, labels):
        far, same = distances(embeddings, labels)
        return (far * same).sum() * self.scale.detach()


class Ordered(nn.Module):
    def forward(self, embeddings, labels):
        far, same = distances(embeddings, labels)
        return (far[0] * same[0]).sum() + 0 * far.sum()


class Forgetful(nn.Module):
    """Takes a memory and counts its empty rows."""

    def forward(self, embeddings, labels, extra=None):
        others = embeddings if extra is None else torch.cat([embeddings, extra[0]])
        return (1 + (embeddings @ others.T).square()).log().mean()


@pytest.mark.parametrize(
    ("make", "check"),
    [
        (Unsafe, "all images equal"),
        (Cut, "gradient"),
        (FloatLabels, "labels near 2^63"),
        (NoMean, "one class"),
        (Forgotten, "ordinary batch"),
        (Ordered, "order of the batch"),
        (Forgetful, "memory"),
    ],
)
def test_a_mistake_is_found(make, check):
    assert check in wrong(make)


@pytest.mark.slow
def test_the_command_checks_ones_own_loss_on_two_processes(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import torch\n"
        "class Rank(torch.nn.Module):\n"
        "    def forward(self, embeddings, labels):\n"
        "        share = 2 if torch.distributed.is_initialized() else 1\n"
        "        return embeddings.square().mean() * share\n"
    )
    command = [sys.executable, "-m", "lookalike", "check-loss", "loss=contrastive"]
    ok = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ok.returncode == 0, ok.stderr
    assert ok.stdout.splitlines()[-1] == "nothing wrong found"
    words = next(line for line in ok.stdout.splitlines() if "two processes" in line)
    assert "equal to one process" in words
    command[-1:] = ["loss=[]", "+loss.mine._target_=mine.Rank"]
    bad = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert bad.returncode == 1
    assert "mine: two processes" in bad.stderr
    assert "differs from one process" in bad.stdout
