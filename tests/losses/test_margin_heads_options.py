"""The options of margin losses, classes in parts, and the sums they are built from."""

import math

import pytest
import torch
from torch.nn.functional import cross_entropy, normalize

from lookalike import losses
from lookalike.losses import MarginOptions
from lookalike.losses._gradient import NOTHING
from lookalike.losses._logsumexp import BLOCK, target_and_logsumexp

CLASSES, DIM, SIZE = 7, 16, 24


def batch(seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES - 1, (SIZE,), generator=generator)
    embeddings = torch.randn(SIZE, DIM, generator=generator, dtype=torch.float64)
    return embeddings.requires_grad_(), labels


def logits(loss, embeddings, labels, margin):
    """`scale * cos`, with a cosine margin for the own class."""
    cos = normalize(embeddings) @ normalize(loss.proxies).T
    return loss.scale * cos.scatter_add(1, labels[:, None], -margin.expand(len(labels))[:, None])


def assert_same(loss, embeddings, value, expected):
    torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-9)
    inputs = [embeddings, *loss.parameters()]
    found, wanted = torch.autograd.grad(value, inputs), torch.autograd.grad(expected, inputs)
    for mine, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-7, atol=1e-9)


def cosface(counts=None, **options):
    torch.manual_seed(0)
    return losses.CosFace(CLASSES, DIM, 0.3, 10, MarginOptions(**options), counts).double()


def constant_margin(margin=0.3):
    return torch.tensor(margin, dtype=torch.float64)


def test_smoothing_is_that_of_cross_entropy_after_the_margin():
    (embeddings, labels), loss = batch(), cosface(smoothing=0.2)
    expected = cross_entropy(logits(loss, embeddings, labels, constant_margin()), labels, label_smoothing=0.2)
    assert_same(loss, embeddings, loss(embeddings, labels), expected)


def test_focal_weighs_each_image():
    (embeddings, labels), loss = batch(), cosface(focal=2.0)
    each = cross_entropy(logits(loss, embeddings, labels, constant_margin()), labels, reduction="none")
    expected = ((1 - (-each).exp()) ** 2 * each).mean()
    assert_same(loss, embeddings, loss(embeddings, labels), expected)


def test_focal_below_one_is_finite_on_the_proxy():
    loss = losses.CosFace(CLASSES, DIM, 0.0, 1000, MarginOptions(focal=0.5))
    embeddings = loss.proxies.detach().clone().requires_grad_()
    loss(embeddings, torch.arange(CLASSES)).backward()
    assert embeddings.grad.isfinite().all()


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_classes_nearer_than_skip_above_are_left_out(smoothing):
    (embeddings, labels), loss = batch(), cosface(skip_above=0.1, smoothing=smoothing)
    z = logits(loss, embeddings, labels, constant_margin())
    own = torch.nn.functional.one_hot(labels, CLASSES).bool()
    kept = own | (z <= 10 * 0.1)
    assert 0 < (~kept).sum() < SIZE * (CLASSES - 1) / 2
    log_p = z.masked_fill(~kept, -math.inf).log_softmax(dim=1).masked_fill(~kept, 0)
    others = (kept & ~own).sum(dim=1)
    even = smoothing * (CLASSES - 1) / CLASSES
    per_row = (1 - even) * log_p[own] + even * log_p.masked_fill(own, 0).sum(dim=1) / others
    assert_same(loss, embeddings, loss(embeddings, labels), -per_row.mean())


def test_rare_classes_have_larger_margins():
    counts = [1, 2, 5, 10, 50, 1000, 3]
    options = {"rare_margin": 0.5, "rare_power": 0.25, "common_margin": 0.05}
    (embeddings, labels), loss = batch(), cosface(counts, **options)
    margins = torch.tensor([0.5 * n**-0.25 + 0.05 for n in counts], dtype=torch.float64)
    expected = cross_entropy(logits(loss, embeddings, labels, margins[labels]), labels)
    torch.testing.assert_close(loss(embeddings, labels), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("counts", [None, [1, 2], [0] * CLASSES])
def test_rare_margins_need_the_counts(counts):
    with pytest.raises(ValueError, match="needs class_counts"):
        cosface(counts, rare_margin=0.5)


def test_the_margin_grows_over_training():
    (embeddings, labels), loss = batch(), cosface(start=0.2, grow_from=0.1, grow_until=0.5)
    for done, share in ((None, 0.2), (0.0, 0.2), (0.1, 0.2), (0.3, 0.6), (0.5, 1.0), (1.0, 1.0)):
        if done is not None:
            losses.modifiers.set_progress(torch.nn.ModuleList([loss]), done)
        expected = cross_entropy(logits(loss, embeddings, labels, constant_margin(0.3 * share)), labels)
        torch.testing.assert_close(loss(embeddings, labels), expected)


KINDS = [
    losses.ArcFace,
    losses.CosFace,
    losses.CombinedMargin,
    losses.CurricularFace,
    losses.ElasticArcFace,
    losses.ElasticCosFace,
    losses.SphereFace,
    losses.AdaFace,
    losses.MagFace,
]


@pytest.mark.parametrize("kind", KINDS)
def test_a_start_of_zero_has_no_margin(kind):
    loss = kind(CLASSES, DIM, options=MarginOptions(start=0.0)).double()
    cos = torch.linspace(-0.99, 0.99, 30, dtype=torch.float64)
    length = torch.full((30,), 5.0, dtype=torch.float64)
    target = loss.target(cos, torch.zeros(30, dtype=torch.long), length)
    torch.testing.assert_close(target, cos)
    loss.set_progress(1.0)
    assert (loss.target(cos, torch.zeros(30, dtype=torch.long), length) < cos).any()


@pytest.mark.parametrize(("classes", "scale"), [(1, 1.0), (2, 1.0), (101, math.sqrt(2) * math.log(100))])
def test_automatic_scale(classes, scale):
    assert losses.ArcFace(classes, DIM, scale="auto").scale == pytest.approx(scale)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("start", -0.1),
        ("grow_from", 1.1),
        ("rare_margin", -1.0),
        ("focal", -1.0),
        ("smoothing", 1.0),
        ("skip_above", 2.0),
    ],
)
def test_options_that_mean_nothing_are_refused(name, value):
    with pytest.raises(ValueError, match=f"MarginOptions {name} {value}"):
        MarginOptions(**{name: value})


@pytest.mark.parametrize("kind", [losses.ArcFace, losses.SubCenterArcFace, losses.UniFace, losses.AdaFace])
def test_a_part_of_the_classes_is_the_loss_over_them(kind):
    (embeddings, _), chosen = batch(), torch.tensor([5, 2, 3])
    loss = kind(CLASSES, DIM).double().eval()
    rows = torch.arange(SIZE) % 3
    vectors = loss.proxies.view(CLASSES, loss.centers, DIM)[chosen].flatten(0, 1)
    small = kind(3, DIM).double().eval()
    small.load_state_dict({**loss.state_dict(), "proxies": vectors})
    found = loss.loss_of_rows(embeddings, vectors, rows, chosen[rows])
    torch.testing.assert_close(found, small(embeddings, rows))
    (gradient,) = torch.autograd.grad(found, loss.proxies)
    assert (gradient.view(CLASSES, -1).abs().sum(dim=1) > 0).tolist() == [
        c in (2, 3, 5) for c in range(CLASSES)
    ]


@pytest.mark.parametrize("centers", [1, 3])
def test_shards_of_the_classes_add_up(centers):
    embeddings, labels = batch()
    proxies = torch.randn(CLASSES * centers, DIM, dtype=torch.float64, requires_grad=True)
    whole = target_and_logsumexp(embeddings, proxies, labels, 10.0, centers=centers)
    parts = []
    for start, stop in ((0, 3), (3, 7)):
        here = (labels >= start) & (labels < stop)
        rows = torch.where(here, labels - start, -1)
        part = proxies[start * centers : stop * centers]
        parts.append(target_and_logsumexp(embeddings, part, rows, 10.0, centers=centers))
    own = parts[0].target + parts[1].target
    rest = torch.logaddexp(parts[0].rest, parts[1].rest)
    torch.testing.assert_close(own, whole.target)
    torch.testing.assert_close(rest, whole.rest)
    found = torch.autograd.grad((rest - 3 * own).square().sum(), [embeddings, proxies])
    wanted = torch.autograd.grad((whole.rest - 3 * whole.target).square().sum(), [embeddings, proxies])
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("centers", [1, 3])
@pytest.mark.parametrize("rows_to_a_block", [1, 4, 100])
def test_derivatives_whatever_the_size_of_a_block(centers, rows_to_a_block, monkeypatch):
    monkeypatch.setitem(BLOCK, "cpu", rows_to_a_block * centers * DIM)
    embeddings, labels = batch()
    embeddings, labels = embeddings.detach()[:5].requires_grad_(), labels[:5]
    proxies = torch.randn(CLASSES * centers, DIM, dtype=torch.float64, requires_grad=True)
    scale = torch.linspace(1, 9, 5, dtype=torch.float64, requires_grad=True)

    def sums(e, p, s):
        return target_and_logsumexp(e, p, labels, s, 0.4, centers, with_mean=True)

    assert torch.autograd.gradcheck(sums, (embeddings, proxies, scale))


def test_derivatives_with_changed_cosines():
    embeddings, labels = batch()
    embeddings, labels = embeddings.detach()[:5].requires_grad_(), labels[:5]
    proxies = torch.randn(CLASSES, DIM, dtype=torch.float64, requires_grad=True)

    def sums(e, p):
        return target_and_logsumexp(
            e, p, labels, 5.0, with_mean=True, change=lambda cos, own: (cos.square(), 2 * cos)
        )

    assert torch.autograd.gradcheck(sums, (embeddings, proxies))


def test_where_there_is_no_other_class_the_rest_is_nothing_without_gradient():
    embeddings = torch.randn(4, DIM, requires_grad=True)
    proxies = torch.randn(1, DIM, requires_grad=True)
    for scale in (0.1, 1.0, 64.0):
        found = target_and_logsumexp(
            embeddings, proxies, torch.zeros(4, dtype=torch.long), scale, with_mean=True
        )
        assert (found.rest == NOTHING).all() and (found.mean == 0).all()
        for gradient in torch.autograd.grad((found.rest + found.mean).sum(), [embeddings, proxies]):
            assert (gradient == 0).all()


def test_a_large_scale_neither_overflows_nor_underflows():
    embeddings, labels = batch()
    proxies = torch.randn(CLASSES, DIM)
    found = target_and_logsumexp(embeddings.detach().float(), proxies, labels, 5000.0)
    cos = normalize(embeddings.detach()) @ normalize(proxies.double()).T
    others = cos.scatter(1, labels[:, None], -2).max(dim=1).values
    torch.testing.assert_close(found.rest / 5000, others.float(), atol=1e-3, rtol=0)


def test_the_backward_pass_can_run_again():
    (embeddings, labels), loss = batch(), cosface(skip_above=0.5, smoothing=0.1)
    value = loss(embeddings, labels)
    first = torch.autograd.grad(value, [embeddings, loss.proxies], retain_graph=True)
    torch.testing.assert_close(torch.autograd.grad(value, [embeddings, loss.proxies]), first, rtol=0, atol=0)


def test_frozen_proxies_get_no_gradient():
    (embeddings, labels), loss = batch(), cosface()
    loss.proxies.requires_grad_(False)
    loss(embeddings, labels).backward()
    assert loss.proxies.grad is None and embeddings.grad.abs().sum() > 0


def test_a_zero_vector_is_as_near_to_all_classes():
    loss = losses.SphereFace(CLASSES, DIM)
    value = loss(torch.zeros(3, DIM), torch.arange(3))
    assert value.item() == pytest.approx(math.log(CLASSES))
