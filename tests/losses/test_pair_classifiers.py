"""Sigmoid, NCA and the pair classifier against loops from the papers and pytorch-metric-learning."""

import itertools
import math

import pytest
import torch
from pytorch_metric_learning import losses

from lookalike.losses import NCA, PairBCE, Sigmoid

DIM = 8


def batch(sizes=(4, 4, 3, 1, 6), seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    centers = torch.randn(len(sizes), DIM, generator=generator, dtype=torch.float64)
    noise = torch.randn(len(labels), DIM, generator=generator, dtype=torch.float64)
    return (0.7 * centers[labels] + noise).requires_grad_(), labels


def unit(embeddings):
    return embeddings / embeddings.norm(dim=1, keepdim=True)


def assert_same(mine, expected, inputs, tolerance=1e-5):
    torch.testing.assert_close(mine, expected, rtol=tolerance, atol=tolerance)
    found, wanted = (torch.autograd.grad(value, inputs) for value in (mine, expected))
    assert all(each.abs().max() > 1e-6 for each in wanted)
    torch.testing.assert_close(found, wanted, rtol=tolerance, atol=tolerance)


def test_sigmoid_is_the_formula_of_the_paper():
    embeddings, labels = batch()
    loss = Sigmoid(scale=5, bias=-3).double()
    x, total = unit(embeddings), 0
    for i, j in itertools.permutations(range(len(labels)), 2):
        z = 1 if labels[i] == labels[j] else -1
        total = total - torch.sigmoid(z * (loss.log_scale.exp() * (x[i] @ x[j]) + loss.bias)).log()
    inputs = [embeddings, loss.log_scale, loss.bias]
    assert_same(loss(embeddings, labels), total / len(labels), inputs, 1e-9)


def test_sigmoid_starts_as_the_paper_does():
    loss = Sigmoid()
    assert loss.log_scale.exp().item() == pytest.approx(10)
    assert loss.bias.item() == -10


def nca(embeddings, labels, scale):
    x, found = unit(embeddings), []
    for i in range(len(labels)):
        weight = {j: torch.exp(-scale * (x[i] - x[j]).square().sum()) for j in range(len(labels)) if j != i}
        own = [weight[j] for j in weight if labels[j] == labels[i]]
        if own:
            found.append(-(sum(own) / sum(weight.values())).log())
    return sum(found) / len(found)


@pytest.mark.parametrize("scale", [1.0, 10.0])
def test_nca_is_the_formula_of_the_paper(scale):
    embeddings, labels = batch()
    assert_same(NCA(scale)(embeddings, labels), nca(embeddings, labels, scale), [embeddings], 1e-9)


@pytest.mark.parametrize("scale", [1.0, 10.0])
def test_nca_equals_pytorch_metric_learning(scale):
    embeddings, labels = batch()
    peer = losses.NCALoss(softmax_scale=scale)
    assert_same(NCA(scale)(embeddings, labels), peer(embeddings, labels), [embeddings])


def test_nca_does_not_overflow_at_a_large_scale():
    embeddings, labels = batch()
    value = NCA(1e6)(embeddings.float(), labels)
    assert value.isfinite()
    assert torch.autograd.grad(value, embeddings)[0].isfinite().all()


def reference_loss(loss, embeddings, labels, balanced):
    x, values = unit(embeddings), {True: [], False: []}
    for i, j in itertools.permutations(range(len(labels)), 2):
        logit = loss.bias
        if loss.features != "product":
            logit = logit + sum(w * abs(a - b) for w, a, b in zip(loss.difference, x[i], x[j], strict=True))
        if loss.features != "difference":
            logit = logit + sum(v * a * b for v, a, b in zip(loss.product, x[i], x[j], strict=True))
        same = bool(labels[i] == labels[j])
        chance = torch.sigmoid(logit)
        values[same].append(-(chance if same else 1 - chance).log())
    if balanced:
        return sum(sum(each) / len(each) for each in values.values()) / 2
    return sum(values[True] + values[False]) / len(values[True] + values[False])


@pytest.mark.parametrize("features", ["difference", "product", "both"])
@pytest.mark.parametrize("balanced", [False, True])
def test_pair_bce_is_binary_cross_entropy_over_the_pairs(features, balanced):
    embeddings, labels = batch((3, 3, 2, 1))
    loss = PairBCE(DIM, features, balanced).double()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():  # weights of both signs
        for parameter in loss.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    expected = reference_loss(loss, embeddings, labels, balanced)
    assert_same(loss(embeddings, labels), expected, [embeddings, *loss.parameters()], 1e-9)


@pytest.mark.parametrize("features", ["difference", "product", "both"])
def test_the_classifier_starts_between_equal_and_unrelated_vectors(features):
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(64, 256, generator=generator)
    logits = PairBCE(256, features).logits(vectors, vectors)
    assert (logits.diagonal() > 1).all()
    assert (logits[~torch.eye(64, dtype=torch.bool)] < -1).all()


def test_the_classifier_learns_which_numbers_to_trust():
    """The first half of each vector tells the class, the second half is louder and says nothing."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(16).repeat_interleave(4)
    told, noise = torch.randn(16, 8, generator=generator)[labels], torch.randn(64, 8, generator=generator)
    vectors = torch.cat([told, 2 * noise], dim=1)
    loss = PairBCE(16)
    optimizer = torch.optim.Adam(loss.parameters(), lr=0.3)
    same = (labels[:, None] == labels).float().fill_diagonal_(float("nan"))

    def right():
        answers = (loss.logits(vectors, vectors) > 0).float()
        return torch.stack([(answers == kind)[same == kind].float().mean() for kind in (0, 1)]).mean()

    before = right()
    for _ in range(300):
        optimizer.zero_grad()
        loss(vectors, labels).backward()
        optimizer.step()
    assert right() > max(0.95, before)


def test_the_gradient_of_the_classifier_is_right_for_two_sets_of_vectors():
    loss = PairBCE(DIM).double()
    a, _ = batch((3,))
    b, _ = batch((4,), seed=1)
    assert torch.autograd.gradcheck(lambda x, y, *_: loss.logits(x, y), (a, b, *loss.parameters()))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Sigmoid(scale=0), "Sigmoid scale 0"),
        (lambda: NCA(-1), "NCA scale -1"),
        (lambda: PairBCE(0), "PairBCE dim 0"),
        (lambda: PairBCE(4, "sum"), "features must be one of difference, product, both"),
        (lambda: PairBCE(4)(torch.randn(2, 5), torch.arange(2)), "dimension 4, got 5"),
    ],
)
def test_nonsense_is_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_an_easy_pair_costs_almost_nothing():
    embeddings = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [-1.0, 0.0]])
    labels = torch.tensor([0, 0, 1, 1])
    assert NCA(10)(embeddings, labels).item() == pytest.approx(2 * math.exp(-40), abs=1e-7)
