"""SoftTriple against a loop from the paper and pytorch-metric-learning."""

import pytest
import torch
from pytorch_metric_learning import losses, regularizers

from lookalike.losses import SoftTriple

CLASSES, CENTERS, DIM = 5, 3, 6


def batch(size=14, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (size,), generator=generator)
    return torch.randn(size, DIM, generator=generator, dtype=torch.float64).requires_grad_(), labels


def build(**arguments):
    torch.manual_seed(0)
    return SoftTriple(CLASSES, DIM, CENTERS, **arguments).double()


def naive(loss, embeddings, labels):
    """The paper's formula, one image, one class and one centre at a time."""
    x = torch.nn.functional.normalize(embeddings)
    w = torch.nn.functional.normalize(loss.proxies).view(CLASSES, CENTERS, DIM)
    total = 0.0
    for row, y in zip(x, labels.tolist(), strict=True):
        near = []
        for c in range(CLASSES):
            weights = [(row @ w[c, k] / loss.gamma).exp() for k in range(CENTERS)]
            near.append(sum(q / sum(weights) * (row @ w[c, k]) for k, q in enumerate(weights)))
        own = (loss.la * (near[y] - loss.margin)).exp()
        others = sum((loss.la * near[c]).exp() for c in range(CLASSES) if c != y)
        total = total - (own / (own + others)).log() / len(x)
    for c in range(CLASSES):
        for j in range(CENTERS):
            for k in range(j + 1, CENTERS):
                distance = (2 + 1e-5 - 2 * w[c, j] @ w[c, k]).sqrt()
                total = total + loss.tau * distance / (CLASSES * CENTERS * (CENTERS - 1))
    return total


@pytest.mark.parametrize("tau", [0.0, 0.2, 3.0])
@pytest.mark.parametrize(("la", "gamma", "margin"), [(20.0, 0.1, 0.01), (5.0, 0.5, 0.3), (8.0, 0.02, 0.0)])
def test_is_the_formula_of_the_paper(tau, la, gamma, margin):
    loss, (embeddings, labels) = build(la=la, gamma=gamma, margin=margin, tau=tau), batch()
    value, expected = loss(embeddings, labels), naive(loss, embeddings, labels)
    torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-9)
    found = torch.autograd.grad(value, [embeddings, loss.proxies])
    wanted = torch.autograd.grad(expected, [embeddings, loss.proxies])
    torch.testing.assert_close(found, wanted, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("tau", [0.0, 0.2])
def test_equals_pytorch_metric_learning(tau):
    """Its regulariser has no 1e-5 under the root: a relative difference of about 1e-6 at these distances."""
    loss, (embeddings, labels) = build(tau=tau), batch()
    regularizer = regularizers.SparseCentersRegularizer(CLASSES, CENTERS) if tau else None
    peer = losses.SoftTripleLoss(
        CLASSES, DIM, CENTERS, weight_regularizer=regularizer, weight_reg_weight=tau or 1
    ).double()
    peer.fc.data.copy_(loss.proxies.data.T)
    value, expected = loss(embeddings, labels), peer(embeddings, labels)
    torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-5)
    found = torch.autograd.grad(value, [embeddings, loss.proxies])
    wanted = torch.autograd.grad(expected, [embeddings, peer.fc])
    torch.testing.assert_close(found[0], wanted[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found[1], wanted[1].T, rtol=1e-5, atol=1e-5)


def test_centres_that_coincide_have_a_finite_gradient_and_stay_together():
    loss, (embeddings, labels) = build(tau=1.0), batch()
    loss.proxies.data[1] = loss.proxies.data[0]
    loss(embeddings, labels).backward()
    assert loss.proxies.grad.isfinite().all()
    torch.testing.assert_close(loss.proxies.grad[0], loss.proxies.grad[1])


def test_the_regulariser_alone_draws_the_centres_of_a_class_together():
    torch.manual_seed(0)
    loss = SoftTriple(CLASSES, DIM, CENTERS, tau=100.0)
    embeddings, labels = torch.randn(4, DIM), torch.arange(4)
    optimizer = torch.optim.SGD(loss.parameters(), lr=0.5)

    def widest():
        unit = torch.nn.functional.normalize(loss.proxies.detach()).view(CLASSES, CENTERS, DIM)
        return torch.cdist(unit, unit).amax().item()

    start = widest()
    for _ in range(100):
        optimizer.zero_grad()
        loss(embeddings, labels).backward()
        optimizer.step()
    assert widest() < 0.3 * start


def test_a_class_with_two_looks_is_learned_with_two_centres_and_not_with_one():
    """Each class lies on both ends of an axis: one vector a class is not enough."""
    labels = torch.arange(4) % 2
    embeddings = torch.tensor([[1.0, 0], [0, 1], [-1, 0], [0, -1]])

    def train_loss(centers):
        torch.manual_seed(0)
        loss = SoftTriple(2, 2, centers, tau=0.0)
        optimizer = torch.optim.Adam(loss.parameters(), lr=0.05)
        for _ in range(200):
            optimizer.zero_grad()
            loss(embeddings, labels).backward()
            optimizer.step()
        return loss(embeddings, labels).item()

    assert train_loss(4) < 0.05 < 0.5 < train_loss(1)
