"""Regularisers against loops from the papers, in float64, and pytorch-metric-learning."""

import itertools

import pytest
import torch
from pytorch_metric_learning.regularizers import LpRegularizer

from lookalike.losses import CenterOrthogonality, EmbeddingNorm, KoLeo, Uniformity


def batch(sizes=(4, 4, 3, 1, 6), dim=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    return torch.randn(len(labels), dim, generator=generator, dtype=torch.float64).requires_grad_(), labels


def unit(embeddings):
    return embeddings / embeddings.norm(dim=1, keepdim=True)


def koleo(embeddings, labels):
    x = unit(embeddings)
    rows = range(len(x))
    return -sum(min((x[i] - x[j]).norm() for j in rows if j != i).log() for i in rows) / len(x)


def uniformity(embeddings, labels):
    x = unit(embeddings)
    values = [torch.exp(-2 * (a - b).square().sum()) for a, b in itertools.combinations(x, 2)]
    return (sum(values) / len(values)).log()


def center_orthogonality(embeddings, labels):
    x = unit(embeddings)
    centers = [x[labels == label].mean(dim=0) for label in labels.unique()]
    values = [(a @ b / a.norm() / b.norm()) ** 2 for a, b in itertools.combinations(centers, 2)]
    return sum(values) / len(values)


def embedding_norm(embeddings, labels):
    return sum((x.norm() - 3) ** 2 for x in embeddings) / len(embeddings)


CASES = {
    "koleo": (KoLeo(epsilon=1e-9), koleo),
    "uniformity": (Uniformity(), uniformity),
    "center_orthogonality": (CenterOrthogonality(), center_orthogonality),
    "embedding_norm": (EmbeddingNorm(3.0), embedding_norm),
}


def assert_same(mine, expected, embeddings, tolerance=1e-9):
    torch.testing.assert_close(mine, expected, rtol=tolerance, atol=tolerance)
    gradient, wanted = (torch.autograd.grad(value, embeddings)[0] for value in (mine, expected))
    torch.testing.assert_close(gradient, wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("seed", [0, 1])
def test_equals_the_formula_written_as_loops(name, seed):
    loss, naive = CASES[name]
    embeddings, labels = batch(seed=seed)
    assert_same(loss(embeddings, labels), naive(embeddings, labels), embeddings)


@pytest.mark.parametrize("name", CASES)
def test_images_of_unknown_class_are_as_if_they_were_not_there(name):
    loss, _ = CASES[name]
    embeddings, labels = batch()
    unknown = labels.masked_fill(labels == 1, -1)
    assert_same(loss(embeddings, unknown), loss(embeddings[labels != 1], labels[labels != 1]), embeddings)


def test_embedding_norm_of_target_zero_equals_pytorch_metric_learning():
    embeddings, labels = batch()
    expected = LpRegularizer(p=2, power=2)(embeddings)
    assert_same(EmbeddingNorm(0)(embeddings, labels), expected, embeddings)


def test_uniformity_equals_the_code_in_the_paper():
    embeddings, labels = batch()
    expected = torch.pdist(unit(embeddings), p=2).pow(2).mul(-3).exp().mean().log()
    assert_same(Uniformity(3)(embeddings, labels), expected, embeddings)


@pytest.mark.parametrize("name", ["koleo", "uniformity"])
def test_a_memory_counts_as_more_images(name):
    loss = CASES[name][0]
    embeddings, labels = batch()
    seen = embeddings.detach()[-1:].neg() + 0.1
    near = torch.cat([embeddings.detach()[:1] + 1e-3, seen])
    value = loss(embeddings, labels, extra=(near, torch.tensor([77, -1])))
    assert value > loss(embeddings, labels) + 1e-3
    nothing = loss(embeddings, labels, extra=(near, torch.tensor([-1, -1])))
    torch.testing.assert_close(nothing, loss(embeddings, labels))


def test_koleo_tells_near_vectors_apart_in_single_precision():
    embeddings = torch.tensor([[1.0, 0.0], [1.0, 1e-3]], requires_grad=True)
    value = KoLeo()(embeddings, torch.arange(2))
    assert value.item() == pytest.approx(6.9028, abs=1e-3)  # log(1000), a little less for epsilon
    gradient = torch.autograd.grad(value, embeddings)[0]
    assert gradient[0, 1].item() == pytest.approx(1e3, rel=0.02)


def test_koleo_of_equal_vectors_is_finite_and_still():
    embeddings = torch.ones(4, 3, requires_grad=True)
    value = KoLeo(1e-4)(embeddings, torch.arange(4))
    value.backward()
    assert value.item() == pytest.approx(9.21, abs=0.01)
    assert embeddings.grad.abs().max() == 0


def test_uniformity_of_equal_vectors_is_zero_and_of_opposite_ones_lowest():
    labels = torch.arange(2)
    assert Uniformity()(torch.ones(2, 3), labels).item() == pytest.approx(0, abs=1e-6)
    assert Uniformity()(torch.tensor([[1.0], [-1.0]]), labels).item() == pytest.approx(-8)


def test_centers_at_right_angles_cost_nothing_whatever_the_spread_of_their_images():
    embeddings = torch.tensor([[1.0, 0.3, 0.0], [1.0, -0.3, 0.0], [0.0, 0.0, 2.0]])
    assert CenterOrthogonality()(embeddings, torch.tensor([5, 5, 9])).item() == pytest.approx(0, abs=1e-12)


def test_a_center_of_images_that_point_everywhere_gets_a_small_gradient():
    spread = torch.tensor([[1.0, 0.0], [-1.0, 1e-6], [0.6, 0.8]], requires_grad=True)
    value = CenterOrthogonality()(spread, torch.tensor([0, 0, 1]))
    value.backward()
    assert spread.grad.isfinite().all()
    assert spread.grad.abs().max() < 10


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: KoLeo(0), "KoLeo epsilon 0"),
        (lambda: Uniformity(0), "Uniformity t 0"),
        (lambda: EmbeddingNorm(-1), "EmbeddingNorm target -1"),
    ],
)
def test_nonsense_is_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()
