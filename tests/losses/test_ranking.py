"""Losses on rankings against loops from the papers, in float64, and against pytorch-metric-learning."""

import pytest
import torch
from pytorch_metric_learning import losses

from lookalike.losses import FastAP, Histogram, RecallAtK, SmoothAP, _ranks, cosine

TAU = 0.05


def batch(sizes=(4, 4, 3, 1, 6), dim=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    centers = torch.randn(len(sizes), dim, generator=generator, dtype=torch.float64)
    noise = torch.randn(len(labels), dim, generator=generator, dtype=torch.float64)
    order = torch.randperm(len(labels), generator=generator)
    return (0.7 * centers[labels] + noise)[order].requires_grad_(), labels[order]


def lists(embeddings, labels):
    """For each anchor with both: its similarities to its positives and to its negatives."""
    unit = embeddings / embeddings.norm(dim=1, keepdim=True)
    rows, labels = range(len(labels)), labels.tolist()
    for a in rows:
        same = [unit[a] @ unit[j] for j in rows if j != a and labels[j] == labels[a]]
        other = [unit[a] @ unit[j] for j in rows if labels[j] != labels[a]]
        if same and other:
            yield same, other


def ahead(i, others, temperature):
    return sum(torch.sigmoid((s - i) / temperature) for s in others if s is not i)


def smooth_ap(embeddings, labels):
    found = []
    for same, other in lists(embeddings, labels):
        parts = []
        for i in same:
            rank = 1 + ahead(i, same, TAU)
            parts.append(rank / (rank + ahead(i, other, TAU)))
        found.append(1 - sum(parts) / len(parts))
    return sum(found) / len(found)


def recall(embeddings, labels):
    found = []
    for same, other in lists(embeddings, labels):
        ranks = [1 + ahead(i, same + other, TAU) for i in same]
        for k in (1, 2, 4):
            within = sum(torch.sigmoid((k - rank) / 0.5) for rank in ranks)
            most = min(k, len(same))
            found.append(1 - within.clamp_max(most) / most)
    return sum(found) / len(found)


def fast_ap(embeddings, labels, bins=7):
    found, width = [], 4 / bins
    for same, other in lists(embeddings, labels):
        precision = total_same = total = 0
        for z in range(bins + 1):
            near, far = (
                sum(max(0 * s, 1 - abs(2 - 2 * s - z * width) / width) for s in part)
                for part in (same, other)
            )
            total_same, total = total_same + near, total + near + far
            if total > 0:
                precision = precision + near * total_same / total
        found.append(1 - precision / len(same))
    return sum(found) / len(found)


def histogram(embeddings, labels, bins=20):
    width, pairs = 2 / bins, ([], [])
    for same, other in lists(embeddings, labels):
        pairs[0].extend(same)
        pairs[1].extend(other)
    # an image alone in its class is in no positive pair, but its negative pairs count
    alone = [row for row, label in enumerate(labels) if (labels == label).sum() == 1]
    unit = embeddings / embeddings.norm(dim=1, keepdim=True)
    pairs[1].extend(unit[a] @ unit[j] for a in alone for j in range(len(labels)) if j != a)
    value, below = 0, 0
    for r in range(bins + 1):
        positive, negative = (
            sum(max(0 * s, 1 - abs(s + 1 - r * width) / width) for s in part) / len(part) for part in pairs
        )
        below = below + positive
        value = value + negative * below
    return value


CASES = {
    "smooth_ap": (SmoothAP(TAU), smooth_ap),
    "recall_at_k": (RecallAtK([1, 2, 4], TAU, 0.5), recall),
    "fast_ap": (FastAP(7), fast_ap),
    "histogram": (Histogram(20), histogram),
}


def assert_same(mine, expected, embeddings, tolerance=1e-5):
    torch.testing.assert_close(mine, expected, rtol=tolerance, atol=tolerance)
    gradient, wanted = (torch.autograd.grad(value, embeddings)[0] for value in (mine, expected))
    assert wanted.abs().max() > 1e-4
    torch.testing.assert_close(gradient, wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("seed", [0, 1])
def test_equals_the_paper_written_as_loops(name, seed):
    loss, naive = CASES[name]
    embeddings, labels = batch(seed=seed)
    assert_same(loss(embeddings, labels), naive(embeddings, labels), embeddings, 1e-9)


@pytest.mark.parametrize("bins", [10, 33])
def test_fast_ap_equals_pytorch_metric_learning(bins):
    embeddings, labels = batch()
    assert_same(FastAP(bins)(embeddings, labels), losses.FastAPLoss(bins)(embeddings, labels), embeddings)


@pytest.mark.filterwarnings("ignore:Using a non-tuple sequence")
@pytest.mark.parametrize("bins", [10, 100])
def test_histogram_equals_pytorch_metric_learning(bins):
    embeddings, labels = batch()
    peer = losses.HistogramLoss(n_bins=bins)
    assert_same(Histogram(bins)(embeddings, labels), peer(embeddings, labels), embeddings)


def test_smooth_ap_equals_pytorch_metric_learning_with_the_anchor_as_its_own_positive():
    """The peer ranks the anchor too; its grouping is right for as many classes as images in each, sorted."""
    embeddings, _ = batch((4, 4, 4, 4))
    labels = torch.arange(4).repeat_interleave(4)
    same = labels[:, None] == labels[None, :]
    mine = SmoothAP()
    value = mine.pairs(cosine(embeddings, embeddings), same, ~same)
    assert_same(value, losses.SmoothAPLoss()(embeddings, labels).double(), embeddings)
    assert not torch.isclose(value, mine(embeddings, labels))


def test_smooth_ap_at_a_low_temperature_is_average_precision():
    embeddings, labels = batch()
    expected = []
    for same, other in lists(embeddings.detach(), labels):
        order = sorted(same + other, reverse=True)
        ranks = sorted(order.index(s) + 1 for s in same)
        expected.append(sum((n + 1) / rank for n, rank in enumerate(ranks)) / len(ranks))
    value = SmoothAP(1e-7)(embeddings, labels).item()
    assert value == pytest.approx(1 - sum(expected) / len(expected), abs=1e-6)


def test_recall_is_perfect_where_every_positive_is_well_within_k():
    labels = torch.arange(4).repeat_interleave(3)
    embeddings = torch.eye(4)[labels] + 1e-3 * torch.randn(12, 4, generator=torch.Generator().manual_seed(0))
    assert RecallAtK([8], k_temperature=0.1)(embeddings, labels).item() == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("kind", [SmoothAP, RecallAtK])
def test_blocks_change_nothing(kind, monkeypatch):
    embeddings, labels = batch()
    value = kind()(embeddings, labels)
    gradient = torch.autograd.grad(value, embeddings)[0]
    monkeypatch.setattr(
        _ranks, "_blocks", lambda rows, width: [slice(n, n + 5) for n in range(0, len(rows), 5)]
    )
    again = kind()(embeddings, labels)
    torch.testing.assert_close(again, value)
    torch.testing.assert_close(torch.autograd.grad(again, embeddings)[0], gradient)


@pytest.mark.parametrize("name", CASES)
def test_a_memory_is_ranked_with_the_batch(name):
    """Ranking a batch against a copy of other rows is ranking it against all of them at once."""
    loss = CASES[name][0]
    embeddings, labels = batch()
    seen, seen_labels = batch(seed=1)
    everything = torch.cat([embeddings, seen.detach()])
    sim = cosine(embeddings, everything)
    same = labels[:, None] == torch.cat([labels, seen_labels])[None, :]
    expected = loss.pairs(sim, same.clone().fill_diagonal_(False), ~same)
    assert_same(loss(embeddings, labels, extra=(seen.detach(), seen_labels)), expected, embeddings, 1e-9)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: SmoothAP(0), "SmoothAP temperature 0"),
        (lambda: RecallAtK(temperature=-1), "RecallAtK temperature -1"),
        (lambda: RecallAtK(k_temperature=0), "RecallAtK k_temperature 0"),
        (lambda: RecallAtK([]), r"RecallAtK k \[\]"),
        (lambda: RecallAtK([0, 1]), r"RecallAtK k \[0, 1\]"),
        (lambda: FastAP(0), "FastAP bins 0"),
        (lambda: Histogram(0), "Histogram bins 0"),
    ],
)
def test_nonsense_is_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()
