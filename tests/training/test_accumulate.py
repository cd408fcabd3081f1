"""A batch in chunks gives the loss and the gradient of one pass."""

import copy

import pytest
import torch
from torch import nn

from lookalike.losses import ArcFace, MultiSimilarity, Triplet
from lookalike.miners import multi_similarity
from lookalike.training.accumulate import backward_in_chunks, depends_on_chunks
from lookalike.training.processes import make_accelerator

LOSSES = {
    "triplet": lambda: Triplet("batch_hard"),
    "mined": lambda: MultiSimilarity(miner=multi_similarity),
    "proxies": lambda: ArcFace(num_classes=5, dim=8),
}


class Net(nn.Module):
    def __init__(self, *extra: nn.Module):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 12), *extra, nn.ReLU(), nn.Linear(12, 8))

    def forward(self, images):
        return self.layers(images)


def batch():
    torch.manual_seed(1)
    return torch.randn(20, 6), [torch.arange(5).repeat_interleave(4)]


def plain():
    return make_accelerator("no", torch.device("cpu"))


def gradients(net, loss, chunk):
    net, loss = copy.deepcopy(net), copy.deepcopy(loss)
    torch.manual_seed(0)
    value = backward_in_chunks(net, loss, *batch(), chunk, plain())
    return value, [p.grad for part in (net, loss) for p in part.parameters()], net


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("chunk", [1, 7, 10, 19])
def test_chunks_equal_one_pass(name, chunk):
    torch.manual_seed(0)
    net, loss = Net(), LOSSES[name]()
    value, gradient, _ = gradients(net, loss, chunk)
    expected, expected_gradient, _ = gradients(net, loss, 20)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-4, atol=1e-6)


class Recorder(nn.Module):
    """Dropout that remembers which values it let through."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, images):
        kept = nn.functional.dropout(torch.ones_like(images), 0.5, self.training)
        self.seen.append(kept)
        return images * kept


def test_dropout_is_the_same_in_both_passes_and_random_numbers_go_on():
    net, loss = Net(Recorder()), Triplet()
    _, _, used = gradients(net, loss, 5)
    first, second = used.layers[1].seen[:4], used.layers[1].seen[4:]
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    assert not torch.equal(first[0], first[1])


def test_the_gradient_is_that_of_the_value_with_dropout():
    torch.manual_seed(0)
    net, loss = Net(nn.Dropout(0.5)).double(), Triplet()
    images, labels = batch()
    images = images.double()

    def run(net):
        torch.manual_seed(3)
        return backward_in_chunks(net, loss, images, labels, 5, plain())

    run(net)
    weight, gradient = net.layers[0].weight, net.layers[0].weight.grad.clone()
    step = torch.zeros_like(weight)
    step[3, 2] = 1e-6
    values = []
    for sign in (1, -1):
        moved = copy.deepcopy(net)
        with torch.no_grad():
            moved.layers[0].weight += sign * step
        values.append(run(moved))
    torch.testing.assert_close((values[0] - values[1]) / 2e-6, gradient[3, 2], rtol=1e-4, atol=1e-8)


def test_running_statistics_count_each_image_once_and_batch_norm_is_named():
    net = Net(nn.BatchNorm1d(12))
    assert depends_on_chunks(net) == ["layers.1"]
    assert depends_on_chunks(copy.deepcopy(net).eval()) == []
    _, _, used = gradients(net, Triplet(), 5)
    assert used.layers[1].num_batches_tracked == 4
    expected = copy.deepcopy(net)
    for piece in batch()[0].split(5):
        expected(piece)
    torch.testing.assert_close(used.layers[1].running_mean, expected.layers[1].running_mean)


def test_autocast_in_chunks_equals_autocast_in_one_pass():
    torch.manual_seed(0)
    accelerator = make_accelerator("bf16", torch.device("cpu"))
    net, loss = accelerator.prepare(Net()), Triplet("batch_hard")
    results = []
    for chunk in (5, 20):
        net.zero_grad()
        value = backward_in_chunks(net, loss, *batch(), chunk, accelerator)
        results.append([value, *(p.grad.clone() for p in net.parameters())])
    (value, *chunks), (expected, *whole) = results
    torch.testing.assert_close(value, expected)
    for gradient, one_pass in zip(chunks, whole, strict=True):  # bf16 rounds a sum of four parts differently
        assert (gradient - one_pass).norm() < 2**-7 * one_pass.norm()


def test_a_part_without_gradient_is_left_alone():
    net = Net()
    for parameter in net.parameters():
        parameter.requires_grad_(False)
    loss = ArcFace(num_classes=5, dim=8)
    value = backward_in_chunks(net, loss, *batch(), 5, plain())
    assert value.isfinite() and loss.proxies.grad.abs().sum() > 0
