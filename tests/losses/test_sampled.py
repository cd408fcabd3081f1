"""Some of the classes at a time: with all of them the full loss, with some the same formula over these."""

import copy
import math

import pytest
import torch

from lookalike.losses import ProxyAnchor
from lookalike.losses._margin_head import MarginOptions
from lookalike.losses.adacos import AdaCos
from lookalike.losses.adaface import AdaFace
from lookalike.losses.arcface import ArcFace
from lookalike.losses.cosface import CosFace
from lookalike.losses.curricularface import CurricularFace
from lookalike.losses.elastic_arcface import ElasticArcFace
from lookalike.losses.magface import MagFace
from lookalike.losses.sampled import ClassSample, SampledClasses
from lookalike.losses.sub_center_arcface import SubCenterArcFace
from lookalike.losses.uniface import UniFace
from lookalike.training.optimise import RowSparse, clip_gradients

CLASSES, DIM, ALL = 9, 6, 0.999  # a rate below 1 that still draws every class, one by one
HEADS = [
    lambda: ArcFace(CLASSES, DIM),
    lambda: CosFace(CLASSES, DIM),
    lambda: SubCenterArcFace(CLASSES, DIM, centers=2),
    lambda: AdaFace(CLASSES, DIM, scale=10),
    lambda: MagFace(CLASSES, DIM, scale=10),
    lambda: CurricularFace(CLASSES, DIM, scale=10),
    lambda: ElasticArcFace(CLASSES, DIM, scale=10),
    lambda: AdaCos(CLASSES, DIM),
    lambda: UniFace(CLASSES, DIM, scale=10),
    lambda: ArcFace(CLASSES, DIM, options=MarginOptions(smoothing=0.1, focal=2.0, skip_above=0.5)),
    lambda: ArcFace(
        CLASSES, DIM, options=MarginOptions(rare_margin=0.5), class_counts=list(range(1, CLASSES + 1))
    ),
]


def batch(seed=0, size=12, classes=CLASSES - 3):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (size,), generator=generator)
    return torch.randn(size, DIM, generator=generator), labels


def pair(make, rate):
    torch.manual_seed(0)
    head = make()
    return copy.deepcopy(head), SampledClasses(head, rate)


def train(loss, optimizer, steps=4):
    """Values, gradients of the embeddings, and proxies at the end, of some steps with clipping."""
    found = []
    for step in range(steps):
        embeddings, labels = batch(step)
        embeddings.requires_grad_()
        torch.manual_seed(step)
        value = loss(embeddings, labels)
        value.backward()
        clip_gradients(list(loss.parameters()), 0.5)
        optimizer.step()
        optimizer.zero_grad()
        found += [value.detach(), embeddings.grad]
    return [*found, *(each.detach() for each in loss.parameters())]


def adamw(loss):
    return torch.optim.AdamW([{"params": list(loss.parameters()), "lr": 0.1, "weight_decay": 0.0}])


@pytest.mark.parametrize("make", HEADS)
def test_all_classes_one_by_one_train_like_the_full_loss(make):
    full, sampled = pair(make, ALL)
    found, expected = train(sampled, RowSparse(adamw(sampled))), train(full, adamw(full))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("make", HEADS)
def test_a_rate_of_one_is_the_full_loss(make):
    full, sampled = pair(make, 1.0)
    found, expected = train(sampled, RowSparse(adamw(sampled))), train(full, adamw(full))
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_value_is_the_formula_over_the_drawn_classes():
    torch.manual_seed(0)
    counts = list(range(1, CLASSES + 1))
    head = CosFace(CLASSES, DIM, scale=10, options=MarginOptions(rare_margin=0.5), class_counts=counts)
    loss = SampledClasses(head.double(), 0.7)
    embeddings, labels = batch(classes=4)
    drawn = copy.deepcopy(loss.sample).draw(CLASSES, labels).tolist()
    unit = torch.nn.functional.normalize
    cos = (unit(embeddings.double()) @ unit(head.proxies.detach()).T).tolist()
    values = []
    for row, y in zip(cos, labels.tolist(), strict=True):
        margin = 0.5 * counts[y] ** -0.25
        logits = {c: 10 * (row[c] - margin * (c == y)) for c in drawn}
        values.append(math.log(sum(math.exp(z) for z in logits.values())) - logits[y])
    assert loss(embeddings.double(), labels).item() == pytest.approx(sum(values) / len(values))


@pytest.mark.parametrize("centers", [1, 3])
def test_only_drawn_rows_have_a_gradient(centers):
    loss = SampledClasses(SubCenterArcFace(100, DIM, centers=centers), 0.2)
    embeddings, labels = batch()
    drawn = copy.deepcopy(loss.sample).draw(100, labels)
    loss(embeddings, labels).backward()
    gradient = loss.head.proxies.grad
    assert gradient.is_sparse
    rows = gradient.coalesce().indices()[0]
    assert torch.equal(rows, (drawn[:, None] * centers + torch.arange(centers)).flatten())


def test_draws_hold_the_batch_and_the_right_number_and_others_evenly():
    sample, needed, times = ClassSample(0.2), torch.tensor([3, 3, 70, 99]), torch.zeros(100)
    for _ in range(2000):
        rows = sample.draw(100, needed)
        assert len(rows) == 20 and (rows[1:] > rows[:-1]).all()
        times[rows] += 1
    assert (times[[3, 70, 99]] == 2000).all()
    others = times[[row for row in range(100) if row not in (3, 70, 99)]]
    assert (others / 2000 - 17 / 97).abs().max() < 0.04  # five standard deviations


def test_a_batch_of_more_classes_than_the_rate_takes_them_all():
    rows = ClassSample(0.1).draw(100, torch.arange(50))
    assert torch.equal(rows, torch.arange(50))


def test_draws_go_on_where_they_stopped():
    first, second = ClassSample(0.2), ClassSample(0.2)
    needed = torch.tensor([1])
    first.draw(100, needed)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    following = first.draw(100, needed)
    assert torch.equal(second.draw(100, needed), following)
    assert not torch.equal(first.draw(100, needed), following)


def test_equal_seeds_draw_equally():
    drawn = []
    for _ in range(2):
        torch.manual_seed(5)
        drawn.append(ClassSample(0.2).draw(100, torch.tensor([1])))
    assert torch.equal(*drawn)


def test_sampled_steps_lower_the_full_loss():
    torch.manual_seed(0)
    head = ArcFace(60, DIM, scale=8)
    loss = SampledClasses(head, 0.3)
    labels = torch.arange(60).repeat(2)
    embeddings = torch.randn(60, DIM)[labels] + 0.1 * torch.randn(120, DIM)
    optimizer = RowSparse(adamw(loss))
    before = head(embeddings, labels).item()
    for step in range(90):
        rows = torch.randperm(120, generator=torch.Generator().manual_seed(step))[:12]
        loss(embeddings[rows], labels[rows]).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert head(embeddings, labels).item() < 0.7 * before


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_and_autocast_change_nothing(dtype):
    _, loss = pair(HEADS[0], 0.8)
    embeddings, labels = batch()
    embeddings = embeddings.to(dtype)
    found = copy.deepcopy(loss)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = found(embeddings, labels)
    assert torch.equal(value, loss(embeddings.float(), labels))


def test_an_empty_batch_is_a_connected_zero():
    _, loss = pair(HEADS[0], 0.5)
    value = loss(torch.zeros(0, DIM, requires_grad=True), torch.zeros(0, dtype=torch.int64))
    value.backward()
    assert value == 0


def test_what_cannot_be_sampled_is_refused():
    with pytest.raises(ValueError, match="a margin loss such as ArcFace or CosFace, got ProxyAnchor"):
        SampledClasses(ProxyAnchor(CLASSES, DIM), 0.5)
    with pytest.raises(ValueError, match="rate 0: must be a fraction of the classes, above 0 and at most 1"):
        SampledClasses(ArcFace(CLASSES, DIM), 0)
    with pytest.raises(ValueError, match="labels must be from 0 to 8"):
        SampledClasses(ArcFace(CLASSES, DIM), 0.5)(torch.zeros(1, DIM), torch.tensor([9]))
