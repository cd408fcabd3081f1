"""Contrastive, multi-similarity and GOR against loops from the papers and pytorch-metric-learning."""

import math

import pytest
import torch
from pytorch_metric_learning import distances, losses, miners

from lookalike.losses import GOR, Contrastive, MultiSimilarity, cosine
from lookalike.miners import hardest, multi_similarity


def batch(classes=8, per_class=4, dim=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(classes).repeat_interleave(per_class)
    centers = torch.randn(classes, dim, generator=generator, dtype=torch.float64)
    noise = torch.randn(len(labels), dim, generator=generator, dtype=torch.float64)
    return (0.6 * centers[labels] + noise).requires_grad_(), labels


def pairs(embeddings, labels):
    unit = torch.nn.functional.normalize(embeddings.detach())
    for i, a in enumerate(unit):
        same = [float(a @ b) for j, b in enumerate(unit) if j != i and labels[j] == labels[i]]
        other = [float(a @ b) for j, b in enumerate(unit) if labels[j] != labels[i]]
        yield same, other


def assert_same(mine, peer, embeddings):
    torch.testing.assert_close(mine, peer, rtol=1e-5, atol=1e-5)
    gradient, expected = (torch.autograd.grad(value, embeddings)[0] for value in (mine, peer))
    torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-5)


def test_contrastive_is_the_mean_over_the_pairs_above_zero():
    embeddings, labels = batch()
    pull = [0.9 - s for same, _ in pairs(embeddings, labels) for s in same if s < 0.9]
    push = [s - 0.1 for _, other in pairs(embeddings, labels) for s in other if s > 0.1]
    value = Contrastive(positive_margin=0.9, negative_margin=0.1)(embeddings, labels)
    assert value.item() == pytest.approx(sum(pull) / len(pull) + sum(push) / len(push))


@pytest.mark.parametrize("margins", [(1.0, 0.0), (0.8, 0.3)])
def test_contrastive_equals_pytorch_metric_learning(margins):
    embeddings, labels = batch()
    peer = losses.ContrastiveLoss(*margins, distance=distances.CosineSimilarity())
    assert_same(Contrastive(*margins)(embeddings, labels), peer(embeddings, labels), embeddings)


def test_multi_similarity_is_the_formula_of_the_paper():
    embeddings, labels = batch()
    terms = [
        math.log1p(sum(math.exp(-3 * (s - 0.4)) for s in same)) / 3
        + math.log1p(sum(math.exp(20 * (s - 0.4)) for s in other)) / 20
        for same, other in pairs(embeddings, labels)
    ]
    value = MultiSimilarity(alpha=3, beta=20, base=0.4)(embeddings, labels)
    assert value.item() == pytest.approx(sum(terms) / len(terms))


@pytest.mark.parametrize("epsilon", [None, 0.1, -0.2])
def test_multi_similarity_equals_pytorch_metric_learning(epsilon):
    embeddings, labels = batch()

    def miner(sim, positive, negative):
        return multi_similarity(sim, positive, negative, epsilon)

    mined = None if epsilon is None else miners.MultiSimilarityMiner(epsilon=epsilon)(embeddings, labels)
    peer = losses.MultiSimilarityLoss(alpha=2, beta=50, base=0.5)(embeddings, labels, mined)
    assert_same(
        MultiSimilarity(miner=None if epsilon is None else miner)(embeddings, labels), peer, embeddings
    )


def test_memory_equals_pytorch_metric_learning_with_reference_embeddings():
    embeddings, labels = batch()
    seen, seen_labels = batch(seed=1)
    everything = torch.cat([embeddings, seen.detach()])
    peer = losses.MultiSimilarityLoss()
    same = torch.arange(len(labels))
    a1, p, a2, n = (
        torch.cat(found)
        for found in zip(
            find_pairs(labels, labels, skip=same),
            find_pairs(labels, seen_labels, start=len(labels)),
            strict=True,
        )
    )
    expected = peer(embeddings, labels, (a1, p, a2, n), everything, torch.cat([labels, seen_labels]))
    assert_same(
        MultiSimilarity()(embeddings, labels, extra=(seen.detach(), seen_labels)), expected, embeddings
    )


def find_pairs(labels, others, skip=None, start=0):
    same = labels[:, None] == others[None, :]
    positive = same.clone()
    if skip is not None:
        positive[skip, skip] = False
    a1, p = positive.nonzero(as_tuple=True)
    a2, n = (~same).nonzero(as_tuple=True)
    return a1, p + start, a2, n + start


def test_gor_counts_every_pair_of_different_classes():
    embeddings, labels = batch(dim=4)
    products = [s for _, other in pairs(embeddings, labels) for s in other]
    first = sum(products) / len(products)
    second = sum(s * s for s in products) / len(products)
    assert GOR()(embeddings, labels).item() == pytest.approx(first**2 + max(0, second - 1 / 4))


def test_gor_is_zero_for_orthogonal_classes():
    assert GOR()(torch.eye(8), torch.arange(8)).item() == 0


def test_the_miner_keeps_what_the_paper_keeps():
    sim = torch.tensor([[1.0, 0.9, 0.5, 0.85, 0.3], [0.0, 1.0, 0.2, 0.2, 0.2]])
    positive = torch.tensor([[0, 1, 1, 0, 0], [1, 0, 0, 0, 0]], dtype=torch.bool)
    negative = torch.tensor([[0, 0, 0, 1, 1], [0, 0, 0, 0, 0]], dtype=torch.bool)
    kept_positive, kept_negative = multi_similarity(sim, positive, negative, epsilon=0.1)
    assert kept_positive.tolist() == [[False, True, True, False, False], [False] * 5]
    assert kept_negative.tolist() == [[False, False, False, True, False], [False] * 5]


def test_hardest_keeps_one_of_each_side():
    embeddings, labels = batch()
    sim = cosine(embeddings, embeddings).detach()
    same = labels[:, None] == labels[None, :]
    positive, negative = hardest(sim, same.clone().fill_diagonal_(False), ~same)
    assert (positive.sum(dim=1) == 1).all() and (negative.sum(dim=1) == 1).all()
    lonely, alone = hardest(sim[:1, :1], torch.tensor([[False]]), torch.tensor([[False]]))
    assert not lonely.any() and not alone.any()
