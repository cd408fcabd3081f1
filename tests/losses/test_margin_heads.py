"""Margin losses against their papers' formulas in plain float64, and against pytorch-metric-learning."""

import math

import pytest
import torch
from pytorch_metric_learning import losses as peers
from torch.nn.functional import normalize

from lookalike import losses
from lookalike.losses import MarginOptions

CLASSES, DIM, SIZE = 7, 16, 24


def batch(seed=0, spread=0.7):
    """Images around the proxies, so that own cosines go from low to high; the last two classes are absent."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES - 2, (SIZE,), generator=generator)
    lengths = torch.rand(SIZE, 1, generator=generator, dtype=torch.float64) * 6 + 1
    noise = torch.randn(SIZE, DIM, generator=generator, dtype=torch.float64)
    return noise, labels, lengths, spread


def made(loss, seed=0):
    """A loss in float64 and a batch that fits its proxies."""
    loss, (noise, labels, lengths, spread) = loss.double(), batch(seed)
    share = torch.linspace(-0.6, 1.0, SIZE, dtype=torch.float64)[:, None]
    centers = loss.proxies.detach()[labels * loss.centers]
    embeddings = normalize(spread * normalize(noise) + share * normalize(centers)) * lengths
    return loss, embeddings.requires_grad_(), labels


def angle(cos):
    return torch.atan2((1 - cos**2).clamp_min(0).sqrt(), cos)


def arc(cos, margin):
    theta = angle(cos)
    return torch.cos(theta + margin) if theta < math.pi - margin else cos - margin * math.sin(margin)


def psi(theta):
    k = int(theta / math.pi)
    return (-1) ** k * torch.cos(theta) - 2 * k


def cross_entropy(logits, y):
    """`-log softmax` of one row, in the plain form: nothing here is large."""
    return -torch.log(torch.exp(logits[y]) / sum(torch.exp(z) for z in logits))


def slow(loss, embeddings, labels, target, scale=None, other=lambda i, cos, own: cos):
    """Mean cross-entropy row by row; `target(i, own)` and `other(i, cos, own)` change the cosines."""
    unit, total = normalize(loss.proxies), 0.0
    for i, y in enumerate(labels.tolist()):
        cos = unit @ (embeddings[i] / embeddings[i].norm())
        cos = cos.view(-1, loss.centers).max(dim=1).values
        s = loss.scale if scale is None else scale(i)
        row = [s * (target(i, cos[y]) if c == y else other(i, cos[c], cos[y])) for c in range(len(cos))]
        total = total + cross_entropy(row, y)
    return total / len(labels)


def assert_same(loss, embeddings, value, expected):
    torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-9)
    inputs = [embeddings, *loss.parameters()]
    found, wanted = torch.autograd.grad(value, inputs), torch.autograd.grad(expected, inputs)
    for mine, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-7, atol=1e-9)


def check(loss, target):
    loss, embeddings, labels = made(loss)
    expected = slow(loss, embeddings, labels, target)
    assert_same(loss, embeddings, loss(embeddings, labels), expected)


@pytest.mark.parametrize("margin", [0.0, 0.5, 1.2])
def test_arcface(margin):
    check(losses.ArcFace(CLASSES, DIM, margin, 10), lambda i, cos: arc(cos, margin))


def test_arcface_with_the_easy_margin_leaves_far_images_alone():
    loss = losses.ArcFace(CLASSES, DIM, scale=10, easy_margin=True)
    check(loss, lambda i, cos: arc(cos, 0.5) if cos > 0 else cos)


def test_cosface():
    check(losses.CosFace(CLASSES, DIM, 0.3, 10), lambda i, cos: cos - 0.3)


@pytest.mark.parametrize("margin", [1.0, 1.35, 4.0])
def test_sphereface(margin):
    loss, embeddings, labels = made(losses.SphereFace(CLASSES, DIM, margin))
    expected = slow(
        loss, embeddings, labels, lambda i, cos: psi(margin * angle(cos)), lambda i: embeddings[i].norm()
    )
    assert_same(loss, embeddings, loss(embeddings, labels), expected)


@pytest.mark.parametrize("margins", [(1.0, 0.3, 0.2), (1.2, 0.4, 0.1), (3.0, 1.0, 0.0)])
def test_combined_margin(margins):
    m1, m2, m3 = margins
    check(losses.CombinedMargin(CLASSES, DIM, *margins, 10), lambda i, cos: psi(m1 * angle(cos) + m2) - m3)


def test_combined_margin_equals_arcface_and_cosface():
    loss, embeddings, labels = made(losses.CombinedMargin(CLASSES, DIM, 1.0, 0.0, 0.3, 10))
    other = losses.CosFace(CLASSES, DIM, 0.3, 10).double()
    other.load_state_dict(loss.state_dict())
    torch.testing.assert_close(loss(embeddings, labels), other(embeddings, labels))
    near = torch.linspace(-0.8, 1, 20, dtype=torch.float64)
    arcface, length = losses.ArcFace(CLASSES, DIM, 0.5).double(), torch.ones(20)
    combined = losses.CombinedMargin(CLASSES, DIM, 1.0, 0.5, 0.0).double()
    assert torch.allclose(arcface.target(near, length, length), combined.target(near, length, length))


def test_sub_center_arcface():
    check(losses.SubCenterArcFace(CLASSES, DIM, 0.5, 10, centers=3), lambda i, cos: arc(cos, 0.5))


def test_adacos_fixed_scale():
    loss = losses.AdaCos(CLASSES, DIM, dynamic=False)
    assert loss.scale == pytest.approx(math.sqrt(2) * math.log(CLASSES - 1))
    check(loss, lambda i, cos: cos)


def test_adacos_dynamic_scale_over_two_steps():
    loss, embeddings, labels = made(losses.AdaCos(CLASSES, DIM))
    scale = math.sqrt(2) * math.log(CLASSES - 1)
    for _ in range(2):
        cos = normalize(embeddings.detach()) @ normalize(loss.proxies.detach()).T
        others = [
            [s for c, s in enumerate(row) if c != y] for row, y in zip(cos.tolist(), labels, strict=True)
        ]
        mean = sum(math.exp(scale * s) for row in others for s in row) / SIZE
        angles = sorted(math.acos(row[y]) for row, y in zip(cos.tolist(), labels.tolist(), strict=True))
        scale = math.log(mean) / math.cos(min(math.pi / 4, angles[(SIZE - 1) // 2]))
        now = scale
        expected = slow(loss, embeddings, labels, lambda i, cos: cos, lambda i, now=now: now)
        assert_same(loss, embeddings, loss(embeddings, labels), expected)
        torch.optim.SGD(loss.parameters(), 0.1).step(lambda: loss(embeddings, labels).backward())


def test_adaface_over_two_steps():
    loss, embeddings, labels = made(losses.AdaFace(CLASSES, DIM, 0.4, 10, momentum=0.5))
    mean, deviation = 20.0, 100.0
    lengths = embeddings.detach().norm(dim=1)
    for _ in range(2):
        mean = (mean + lengths.mean().item()) / 2
        deviation = (deviation + lengths.std().item()) / 2
        k = (0.333 * (lengths - mean) / (deviation + 1e-3)).clamp(-1, 1).tolist()

        def target(i, cos, k=k):
            moved = (angle(cos) - 0.4 * k[i]).clamp(1e-3, math.pi - 1e-3)
            return torch.cos(moved) - (0.4 + 0.4 * k[i])

        expected = slow(loss, embeddings, labels, target)
        assert_same(loss, embeddings, loss(embeddings, labels), expected)
        torch.optim.SGD(loss.parameters(), 0.1).step(lambda: loss(embeddings, labels).backward())


def test_adaface_with_one_image_keeps_the_deviation():
    loss = losses.AdaFace(CLASSES, DIM, momentum=0.5)
    loss(3 * torch.ones(1, DIM), torch.zeros(1, dtype=torch.long))
    torch.testing.assert_close(loss.running.now, torch.tensor([16.0, 100.0]))


def test_curricularface_over_two_steps():
    loss, embeddings, labels = made(losses.CurricularFace(CLASSES, DIM, 0.5, 10, momentum=0.5))
    t, hard = 0.0, 0
    for _ in range(2):
        cos = normalize(embeddings.detach()) @ normalize(loss.proxies.detach()).T
        t = (t + cos[range(SIZE), labels].mean().item()) / 2

        def other(i, cos, own, t=t):
            nonlocal hard
            hard += int(cos > arc(own.detach(), 0.5))
            return cos * (t + cos) if cos > arc(own.detach(), 0.5) else cos

        expected = slow(loss, embeddings, labels, lambda i, cos: arc(cos, 0.5), other=other)
        assert_same(loss, embeddings, loss(embeddings, labels), expected)
        torch.optim.SGD(loss.parameters(), 0.1).step(lambda: loss(embeddings, labels).backward())
    assert 10 < hard < 2 * SIZE * (CLASSES - 1) - 10


@pytest.mark.parametrize("easy", [False, True])
def test_magface(easy):
    made_loss = losses.MagFace(CLASSES, DIM, shortest=2, longest=6, scale=10, easy_margin=easy)
    loss, embeddings, labels = made(made_loss)

    def target(i, cos):
        margin = 0.45 + 0.35 * (embeddings[i].norm().clamp(2, 6) - 2) / 4
        if easy and cos <= 0:
            return cos
        beyond = angle(cos) >= math.pi - margin
        return cos - margin * margin.sin() if beyond else torch.cos(angle(cos) + margin)

    a = embeddings.norm(dim=1).clamp(2, 6)
    expected = slow(loss, embeddings, labels, target) + 35 * (1 / a + a / 36).mean()
    assert_same(loss, embeddings, loss(embeddings, labels), expected)


def test_uniface():
    loss, embeddings, labels = made(losses.UniFace(CLASSES, DIM, 0.4, 10, balance=0.7))
    assert loss.bias.item() == pytest.approx(math.log(70))
    cos = normalize(embeddings) @ normalize(loss.proxies).T
    expected = 0.0
    for row, y in zip(cos, labels.tolist(), strict=True):
        expected = expected + torch.log(1 + torch.exp(loss.bias - 10 * (row[y] - 0.4)))
        for c in range(CLASSES):
            if c != y:
                expected = expected + 0.7 * torch.log(1 + torch.exp(10 * row[c] - loss.bias))
    assert_same(loss, embeddings, loss(embeddings, labels), expected / SIZE)


@pytest.mark.parametrize("plus", [False, True])
@pytest.mark.parametrize("kind", [losses.ElasticArcFace, losses.ElasticCosFace])
def test_elastic_face(kind, plus):
    loss, embeddings, labels = made(kind(CLASSES, DIM, 0.4, 0.1, 10, plus))
    torch.manual_seed(5)
    drawn = (0.4 + 0.1 * torch.randn(SIZE, dtype=torch.float64)).tolist()
    if plus:
        own = (normalize(embeddings) @ normalize(loss.proxies).T)[range(SIZE), labels].tolist()
        farthest_first = sorted(range(SIZE), key=own.__getitem__)
        drawn = dict(zip(farthest_first, sorted(drawn, reverse=True), strict=True))
    arcs = kind is losses.ElasticArcFace
    expected = slow(loss, embeddings, labels, lambda i, cos: arc(cos, drawn[i]) if arcs else cos - drawn[i])
    torch.manual_seed(5)
    assert_same(loss, embeddings, loss(embeddings, labels), expected)


@pytest.mark.parametrize("kind", [losses.ElasticArcFace, losses.ElasticCosFace])
def test_elastic_face_has_the_mean_margin_in_evaluation(kind):
    loss, embeddings, labels = made(kind(CLASSES, DIM, 0.4, 0.1).eval())
    assert loss(embeddings, labels) == loss(embeddings, labels)


PEERS = {
    "arcface": (
        losses.ArcFace(CLASSES, DIM, 0.5, 30),
        peers.ArcFaceLoss(CLASSES, DIM, margin=math.degrees(0.5), scale=30),
    ),
    "cosface": (
        losses.CosFace(CLASSES, DIM, 0.35, 64),
        peers.CosFaceLoss(CLASSES, DIM, margin=0.35, scale=64),
    ),
    "sphereface": (losses.SphereFace(CLASSES, DIM), peers.SphereFaceLoss(CLASSES, DIM, margin=4, scale=1)),
    "sub_center_arcface": (
        losses.SubCenterArcFace(CLASSES, DIM, 0.5, 30),
        peers.SubCenterArcFaceLoss(
            num_classes=CLASSES, embedding_size=DIM, margin=math.degrees(0.5), scale=30, sub_centers=3
        ),
    ),
}


@pytest.mark.parametrize("name", PEERS)
def test_equals_pytorch_metric_learning(name):
    mine, peer = PEERS[name]
    mine, embeddings, labels = made(mine)
    peer = peer.double()
    with torch.no_grad():
        peer.W.copy_(mine.proxies.T)
    value, expected = mine(embeddings, labels), peer(embeddings, labels)
    torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-5)
    found = torch.autograd.grad(value, [embeddings, mine.proxies])
    wanted = torch.autograd.grad(expected, [embeddings, peer.W])
    torch.testing.assert_close(found[0], wanted[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found[1], wanted[1].T, rtol=1e-5, atol=1e-5)


EVERY = [
    losses.ArcFace,
    losses.CosFace,
    losses.SphereFace,
    losses.CombinedMargin,
    losses.AdaCos,
    losses.AdaFace,
    losses.CurricularFace,
    losses.ElasticArcFace,
    losses.ElasticCosFace,
    losses.SubCenterArcFace,
    losses.MagFace,
    losses.UniFace,
]


@pytest.mark.parametrize("kind", EVERY)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_target_falls_with_the_angle_and_its_gradient_is_finite_at_both_ends(kind, dtype):
    loss = kind(CLASSES, DIM).to(dtype).eval()
    cos = torch.linspace(-1, 1, 2001, dtype=dtype, requires_grad=True)
    labels, length = torch.zeros(2001, dtype=torch.long), torch.full((2001,), 5.0, dtype=dtype)
    values = loss.target(cos, labels, length)
    assert (values.diff() >= 0).all()
    assert torch.autograd.grad(values.sum(), cos)[0].isfinite().all()


@pytest.mark.parametrize("kind", [losses.AdaCos, losses.AdaFace, losses.CurricularFace])
def test_what_follows_the_batches_moves_once_a_step_and_not_in_evaluation(kind):
    loss, embeddings, labels = made(kind(CLASSES, DIM))
    start = loss.running.now.clone()
    loss.eval()(embeddings, labels)
    assert torch.equal(loss.running.now, start)
    optimizer = torch.optim.SGD(loss.parameters(), 0.1)
    seen = []
    for _ in range(2):
        loss.train()(embeddings, labels).backward()
        seen.append(loss.running.now.clone())
        loss(embeddings, labels)
        assert torch.equal(loss.running.now, seen[-1])
        optimizer.step()
    assert not torch.equal(seen[0], start) and not torch.equal(seen[1], seen[0])
    other = kind(CLASSES, DIM).double()
    other.load_state_dict(loss.state_dict())
    assert other(embeddings, labels) == loss(embeddings, labels)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: losses.ArcFace(3, 4, margin=28.6), "ArcFace margin 28.6: an angle in radians"),
        (lambda: losses.CosFace(3, 4, margin=-0.1), "CosFace margin -0.1"),
        (lambda: losses.SphereFace(3, 4, margin=0.5), "SphereFace margin 0.5: multiplies the angle"),
        (lambda: losses.CombinedMargin(3, 4, m1=0.0), "CombinedMargin m1 0.0: at least 1"),
        (lambda: losses.AdaFace(3, 4, momentum=0.0), "AdaFace momentum 0.0"),
        (lambda: losses.CurricularFace(3, 4, momentum=2.0), "CurricularFace momentum 2.0"),
        (lambda: losses.ElasticCosFace(3, 4, std=-1.0), "ElasticCosFace std -1.0"),
        (lambda: losses.SubCenterArcFace(3, 4, centers=256), "SubCenterArcFace centers 256"),
        (lambda: losses.MagFace(3, 4, shortest=0.0), "MagFace shortest 0.0"),
        (lambda: losses.ArcFace(3, 4, scale="big"), "ArcFace scale big: a number above 0, or auto"),
        (lambda: losses.UniFace(3, 4, options=MarginOptions(focal=1.0)), "UniFace option focal 1.0"),
        (lambda: losses.AdaCos(3, 4, options=MarginOptions(start=0.0)), "AdaCos option start 0.0"),
    ],
)
def test_nonsense_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()
