"""Lifted structure, circle, ranked list and SNR contrastive against float64 loops and the peer library."""

import pytest
import torch
from pytorch_metric_learning import losses

from lookalike.losses import Circle, LiftedStructure, RankedList, SNRContrastive


def batch(classes=6, per_class=4, dim=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(classes).repeat_interleave(per_class)
    centers = torch.randn(classes, dim, generator=generator, dtype=torch.float64)
    noise = torch.randn(len(labels), dim, generator=generator, dtype=torch.float64)
    order = torch.randperm(len(labels), generator=generator)
    return (0.6 * centers[labels] + noise)[order].requires_grad_(), labels[order]


def columns(labels, names):
    for a, y in enumerate(labels.tolist()):
        same = [x for x, name in enumerate(names.tolist()) if name == y and x != a]
        other = [x for x, name in enumerate(names.tolist()) if name != y]
        yield a, same, other


def mean(values):
    return sum(values) / max(1, len(values))


def naive_lifted(unit, labels, names, margin=1.5, scale=3):
    terms = []
    for a, same, other in columns(labels, names):
        pull = sum((scale * (unit[a] - unit[p]).norm()).exp() for p in same).log()
        push = sum((margin - scale * (unit[a] - unit[n]).norm()).exp() for n in other).log()
        terms.append((pull + push).relu())
    return mean(terms)


def naive_circle(unit, labels, names, margin=0.3, scale=20):
    terms = []
    for a, same, other in columns(labels, names):
        positive, negative = ([unit[a] @ unit[x] for x in side] for side in (same, other))
        pull = sum(torch.exp(-scale * (1 + margin - s.detach()).relu() * (s - 1 + margin)) for s in positive)
        push = sum(torch.exp(scale * (s.detach() + margin).relu() * (s - margin)) for s in negative)
        terms.append(torch.log(1 + pull * push))
    return mean(terms)


def naive_ranked_list(unit, labels, names, alpha=1.3, margin=0.5, sharp=(2.0, 5.0), balance=0.3, slack=0.0):
    """`slack` is what pytorch-metric-learning adds to each sum of weights."""
    terms = []
    for a, same, other in columns(labels, names):
        pull = [(unit[a] - unit[p]).norm() - (alpha - margin) for p in same]
        push = [alpha - (unit[a] - unit[n]).norm() for n in other]
        sides = []
        for excess, sharpness in ((pull, sharp[0]), (push, sharp[1])):
            active = [e for e in excess if e > 0]
            weights = [(sharpness * e).exp() for e in active]
            weighted = sum(w * e for w, e in zip(weights, active, strict=True))
            sides.append(weighted / (sum(weights) + slack) if active else 0.0)
        terms.append((1 - balance) * sides[0] + balance * sides[1])
    return mean(terms)


def naive_snr(unit, labels, names, near=0.4, far=1.4):
    pull, push = [], []
    for a, same, other in columns(labels, names):
        pull += [(unit[p] - unit[a]).var() / unit[a].var() - near for p in same]
        push += [far - (unit[n] - unit[a]).var() / unit[a].var() for n in other]
    return mean([e for e in pull if e > 0]) + mean([e for e in push if e > 0])


def assert_same(mine, expected, embeddings, tolerance=1e-9):
    torch.testing.assert_close(mine, expected, rtol=tolerance, atol=tolerance)
    gradient, wanted = (torch.autograd.grad(value, embeddings)[0] for value in (mine, expected))
    torch.testing.assert_close(gradient, wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("loss", "naive"),
    [
        (LiftedStructure(1.5, 3), naive_lifted),
        (Circle(0.3, 20), naive_circle),
        (RankedList(1.3, 0.5, 2, 5, 0.3), naive_ranked_list),
        (SNRContrastive(0.4, 1.4), naive_snr),
    ],
)
def test_is_the_formula_of_the_paper(loss, naive):
    embeddings, labels = batch()
    unit = torch.nn.functional.normalize(embeddings)
    assert_same(loss(embeddings, labels), naive(unit, labels, labels), embeddings)
    seen, names = batch(seed=1)
    unit = torch.nn.functional.normalize(torch.cat([embeddings, seen.detach()]))
    value = loss(embeddings, labels, extra=(seen.detach(), names))
    assert_same(value, naive(unit, labels, torch.cat([labels, names])), embeddings)


@pytest.mark.parametrize(
    ("mine", "peer"),
    [
        (
            LiftedStructure(margin=0.7, scale=1),
            losses.GeneralizedLiftedStructureLoss(neg_margin=1, pos_margin=0.3),
        ),
        (Circle(0.4, 80), losses.CircleLoss(0.4, 80)),
        (Circle(0.25, 128), losses.CircleLoss(0.25, 128)),
        (SNRContrastive(), losses.SignalToNoiseRatioContrastiveLoss()),
        (SNRContrastive(0.2, 1.5), losses.SignalToNoiseRatioContrastiveLoss(pos_margin=0.2, neg_margin=1.5)),
    ],
)
@pytest.mark.parametrize("per_class", [2, 4])
def test_equals_pytorch_metric_learning(mine, peer, per_class):
    embeddings, labels = batch(per_class=per_class)
    assert_same(mine(embeddings, labels), peer(embeddings, labels), embeddings, 1e-5)


def test_ranked_list_differs_from_pytorch_metric_learning_by_what_that_adds_to_the_weights():
    embeddings, labels = batch()
    unit = torch.nn.functional.normalize(embeddings)
    peer = losses.RankedListLoss(margin=0.5, Tn=5, imbalance=0.3, alpha=1.3, Tp=2)(embeddings, labels)
    with_slack = naive_ranked_list(unit, labels, labels, slack=1e-5 * len(labels))
    assert_same(peer, with_slack, embeddings)
    mine = RankedList(1.3, 0.5, 2, 5, 0.3)(embeddings, labels)
    assert 0 < mine - peer < 1e-3 * mine


def test_lifted_structure_counts_only_anchors_with_a_positive():
    embeddings, labels = batch()
    alone = torch.cat([labels, torch.tensor([77])])
    with_one = torch.cat([embeddings, -embeddings[:1]])
    unit = torch.nn.functional.normalize(with_one)
    terms = naive_lifted(unit, alone[:-1], alone)
    torch.testing.assert_close(LiftedStructure(1.5, 3)(with_one, alone), terms)


def test_ranked_list_of_an_image_without_positives_still_pushes():
    near = torch.tensor([[1.0, 0.0], [1.0, 0.1]], requires_grad=True)
    value = RankedList()(near, torch.tensor([0, 1]))
    distance = (torch.nn.functional.normalize(near)).diff(dim=0).norm()
    torch.testing.assert_close(value, 0.5 * (1.2 - distance))


def test_snr_zero_mean_is_the_mean_absolute_sum_of_images_in_a_pair():
    embeddings, labels = batch()
    unknown = labels.clone()
    unknown[0] = -1
    more = SNRContrastive(zero_mean=0.1)(embeddings, unknown) - SNRContrastive()(embeddings, unknown)
    sums = torch.nn.functional.normalize(embeddings)[1:].sum(dim=1).abs()
    torch.testing.assert_close(more, 0.1 * sums.mean())


def test_snr_of_an_anchor_without_variance_is_finite():
    embeddings = torch.cat([torch.full((2, 4), 0.3), torch.randn(2, 4)]).requires_grad_()
    value = SNRContrastive()(embeddings, torch.tensor([0, 1, 0, 1]))
    value.backward()
    assert value.isfinite() and embeddings.grad.isfinite().all()


@pytest.mark.parametrize("loss", [LiftedStructure(), Circle(), RankedList(), SNRContrastive()])
def test_memory_is_that_of_the_matrix_however_long_the_vectors(loss):
    embeddings, labels = torch.randn(128, 256, requires_grad=True), torch.arange(128) % 2
    sizes = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: sizes.append(x.numel()) or x, lambda x: x):
        loss(embeddings, labels).backward()
    assert max(sizes) <= embeddings.numel()
    assert embeddings.grad.isfinite().all()


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: LiftedStructure(scale=0), "LiftedStructure scale 0"),
        (lambda: Circle(scale=-1), "Circle scale -1"),
        (lambda: RankedList(balance=2), "RankedList balance 2"),
        (lambda: RankedList(positive_sharpness=-1), "RankedList positive_sharpness -1"),
        (lambda: SNRContrastive(zero_mean=-1), "SNRContrastive zero_mean -1"),
    ],
)
def test_nonsense_is_refused_with_what_is_allowed(build, words):
    with pytest.raises(ValueError, match=words):
        build()
