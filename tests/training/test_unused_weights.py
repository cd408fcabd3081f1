"""Weights that a pooling does not use, in two processes: distributed training wants a gradient for each."""

import pytest
import torch
from torch.nn.parallel import DistributedDataParallel

from lookalike.data.transforms import Resize
from lookalike.model import backbones, heads, pooling
from lookalike.model.embedder import build
from lookalike.training.parameters import refreeze, trainable
from lookalike.training.stage import Features
from ranks import run_ranks

SIZE = 32
POOLINGS = {"average": pooling.Average, "gem": pooling.GeM, "max": pooling.Max, "native": pooling.Native}


def model_of(kind):
    torch.manual_seed(0)
    backbone = backbones.timm("mobilenetv3_small_050", pretrained=False, image_size=SIZE)
    return build(backbone, POOLINGS[kind](), heads.Linear, 4, Resize(SIZE))


def work(rank, folder, kind):
    net = DistributedDataParallel(Features(model_of(kind).train()))
    for step in range(2):
        images = torch.rand(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(10 * step + rank))
        net(images).square().sum().backward()
        torch.save([p.grad for p in net.parameters() if p.requires_grad], folder / f"{rank}.pt")
        net.zero_grad()


@pytest.mark.parametrize("kind", ["average", "native"])
def test_two_processes_train_a_timm_model_whose_head_is_not_used(kind, tmp_path):
    run_ranks(work, tmp_path, kind)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("kind", POOLINGS)
def test_unfreezing_everything_does_not_train_what_gets_no_gradient(kind):
    model = model_of(kind)
    learns = trainable(model)
    refreeze(model, learns, ["backbone"], ["backbone"])
    assert trainable(model) == learns
    assert ("backbone.net.conv_head.weight" in learns) == (kind == "native")
