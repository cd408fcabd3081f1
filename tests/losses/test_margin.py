"""Margin loss against loops from the paper, in float64, and against pytorch-metric-learning."""

import pytest
import torch
from pytorch_metric_learning import losses
from pytorch_metric_learning.miners import BatchHardMiner

from lookalike.losses import Margin
from lookalike.miners import hardest, keep_all

CLASSES, DIM = 6, 8


def batch(per_class=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(CLASSES).repeat_interleave(per_class)
    centers = torch.randn(CLASSES, DIM, generator=generator, dtype=torch.float64)
    noise = torch.randn(len(labels), DIM, generator=generator, dtype=torch.float64)
    return (0.7 * centers[labels] + noise).requires_grad_(), labels


def build(**changes):
    return Margin(DIM, CLASSES, **{"margin": 0.3, "beta": 1.1, "miner": keep_all, **changes}).double()


def by_hand(embeddings, labels, beta, margin=0.3, nu=0.0):
    """`beta` holds one number for each class."""
    unit = embeddings / embeddings.norm(dim=1, keepdim=True)
    pull, push, radius = [], [], []
    for i, a in enumerate(unit):
        for j, b in enumerate(unit):
            if i == j:
                continue
            d, border = (a - b).square().sum().sqrt(), beta[labels[i]]
            if labels[i] == labels[j]:
                pull.append((d - border + margin).clamp_min(0))
                radius.append(border)
            else:
                push.append((border - d + margin).clamp_min(0))
    costs = torch.stack(pull + push)
    active = (costs > 0).sum()
    radii = radius[0] * active if len(set(beta.tolist())) == 1 else torch.stack(radius).sum()
    return (costs.sum() + nu * radii) / active


def spread(loss, seed=1):
    """Learned radii that differ, and the same for each class in a plain tensor."""
    with torch.no_grad():
        loss.beta += 0.2 * torch.rand(loss.beta.shape, generator=torch.Generator().manual_seed(seed))
    return loss.beta.detach().expand(CLASSES).clone().requires_grad_()


@pytest.mark.parametrize("learn", ["none", "one", "per_class"])
def test_equals_the_formula_written_as_loops(learn):
    (embeddings, labels), loss = batch(), build(learn=learn, nu=0.05)
    beta = spread(loss)
    value = loss(embeddings, labels)
    expected = by_hand(embeddings, labels, beta, nu=0.0 if learn == "none" else 0.05)
    torch.testing.assert_close(value, expected)
    gradients = torch.autograd.grad(expected, (embeddings, beta), allow_unused=True)
    learned = [] if learn == "none" else [loss.beta]
    found = torch.autograd.grad(value, (embeddings, *learned))
    torch.testing.assert_close(found[0], gradients[0])
    if learned:
        torch.testing.assert_close(
            found[1], gradients[1] if learn == "per_class" else gradients[1].sum()[None]
        )


@pytest.mark.parametrize("learn", ["none", "one", "per_class"])
def test_equals_pytorch_metric_learning_on_the_same_pairs(learn):
    (embeddings, labels), loss = batch(), build(learn=learn, miner=hardest, nu=0.05)
    sizes = CLASSES if learn == "per_class" else None
    peer = losses.MarginLoss(0.3, nu=0.05, beta=1.1, learn_beta=learn != "none", num_classes=sizes).double()
    mined = BatchHardMiner()(embeddings, labels)
    value, expected = loss(embeddings, labels), peer(embeddings, labels, mined)
    torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-5)
    learned = learn != "none"
    found = torch.autograd.grad(value, (embeddings, *([loss.beta] if learned else [])))
    wanted = torch.autograd.grad(expected, (embeddings, *([peer.beta] if learned else [])), retain_graph=True)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def test_draws_as_many_negatives_as_there_are_positives():
    seen = []

    class Watched(Margin):
        def pairs(self, sim, positive, negative):
            seen.append((positive.sum(dim=1), negative.sum(dim=1)))
            return super().pairs(sim, positive, negative)

    embeddings, labels = batch()
    Watched(DIM)(embeddings, labels)
    positives, negatives = seen[0]
    assert (positives == 3).all() and (negatives <= 3).all() and negatives.sum() > 0


@pytest.mark.parametrize("learn", ["one", "per_class"])
def test_a_learned_radius_gets_a_finite_gradient_from_every_batch(learn):
    embeddings, labels = batch()
    same = torch.ones_like(embeddings)
    loss = build(learn=learn, miner=None)
    for vectors, classes in (
        (embeddings, labels),
        (embeddings[:0], labels[:0]),
        (embeddings[:1], labels[:1]),
        (embeddings, torch.full_like(labels, -1)),
        (same, labels),
        (same, torch.zeros_like(labels)),
        (torch.zeros_like(same), labels),
    ):
        loss.zero_grad()
        loss(vectors, classes).backward()
        assert loss.beta.grad.isfinite().all()
    assert build(learn=learn)(embeddings, labels).isfinite()


def test_a_memory_is_compared_by_the_radius_of_the_anchor():
    (embeddings, labels), (seen, seen_labels) = batch(), batch(seed=1)
    loss = build(learn="per_class")
    spread(loss)
    value = loss(embeddings, labels, extra=(seen.detach(), seen_labels))
    assert value.isfinite() and value != loss(embeddings, labels)


@pytest.mark.parametrize("change", [{"beta": 2.5}, {"margin": -0.1}, {"nu": -1.0}, {"learn": "two"}])
def test_nonsense_is_refused(change):
    with pytest.raises(ValueError, match=f"Margin .*{next(iter(change))}"):
        build(**change)


def test_a_radius_for_each_class_needs_classes():
    with pytest.raises(ValueError, match="needs the number of classes"):
        Margin(DIM, learn="per_class")
    embeddings, labels = batch()
    with pytest.raises(ValueError, match="labels must be from -1 to 5, got 1 to 6"):
        build(learn="per_class")(embeddings, labels + 1)
