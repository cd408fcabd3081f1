"""Distillation against plain loops in float64: values, gradients, odd batches."""

from itertools import permutations

import pytest
import torch

from lookalike.losses import ArcFace, Distillation, Terms

KINDS = ["cosine", "l1", "l2", "relational", "similarity"]


def vectors(count: int = 7, dim: int = 5, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def length(vector: list) -> torch.Tensor:
    return sum(x * x for x in vector).sqrt()


def huber(difference: torch.Tensor) -> torch.Tensor:
    size = difference.abs()
    return 0.5 * size**2 if size < 1 else size - 0.5


def reference(kind: str, student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """The loss from the papers' words, number by number; `student` already mapped to the teacher's length."""
    s, t = ([[x / length(list(row)) for x in row] for row in side] for side in (student, teacher))
    count = len(s)

    def dot(a, b):
        return sum(x * y for x, y in zip(a, b, strict=True))

    def difference(a, b):
        return [x - y for x, y in zip(a, b, strict=True)]

    if kind == "cosine":
        return sum(1 - dot(a, b) for a, b in zip(s, t, strict=True)) / count
    if kind == "l1":
        return sum(abs(x) for a, b in zip(s, t, strict=True) for x in difference(a, b)) / count
    if kind == "l2":
        return sum(length(difference(a, b)) for a, b in zip(s, t, strict=True)) / count
    pairs = list(permutations(range(count), 2))
    if kind == "similarity":
        total = 0.0
        for i in range(count):
            others = [j for j in range(count) if j != i]
            q, p = ([(dot(x[i], x[j]) / 0.1).exp() for j in others] for x in (s, t))
            p, q = [x / sum(p) for x in p], [x / sum(q) for x in q]
            total = total + sum(a * (a.log() - b.log()) for a, b in zip(p, q, strict=True))
        return total / count
    far = [{(i, j): length(difference(x[i], x[j])) for i, j in pairs} for x in (s, t)]
    means = [sum(each.values()) / len(pairs) for each in far]
    distances = sum(huber(far[0][p] / means[0] - far[1][p] / means[1]) for p in pairs) / len(pairs)
    triplets = list(permutations(range(count), 3))
    angles = 0.0
    for i, j, k in triplets:
        a, b = (
            dot(difference(x[i], x[j]), difference(x[k], x[j])) / (f[i, j] * f[k, j])
            for x, f in zip((s, t), far, strict=True)
        )
        angles = angles + huber(a - b)
    return distances + 2 * angles / len(triplets)


@pytest.mark.parametrize("kind", KINDS)
def test_value_and_gradient_equal_a_plain_loop(kind):
    student, teacher = vectors().requires_grad_(), 3 * vectors(seed=1)
    loss = Distillation(5, 5, kind).double()
    assert loss.projection is None
    value, wanted = loss(student, teacher), reference(kind, student, teacher)
    torch.testing.assert_close(value, wanted, rtol=1e-9, atol=1e-12)
    found = torch.autograd.grad(value, student)
    torch.testing.assert_close(found, torch.autograd.grad(wanted, student), rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("kind", ["cosine", "l1", "l2"])
def test_another_length_goes_through_a_map_that_learns(kind):
    loss = Distillation(3, 5, kind).double()
    student, teacher = vectors(dim=3).requires_grad_(), vectors(seed=1)
    weight = loss.projection.weight
    value = loss(student, teacher)
    wanted = reference(kind, student @ weight.T, teacher)
    torch.testing.assert_close(value, wanted)
    found = torch.autograd.grad(value, [student, weight])
    torch.testing.assert_close(found, torch.autograd.grad(wanted, [student, weight]))


@pytest.mark.parametrize(("dim", "teacher_dim"), [(4, 9), (9, 4)])
def test_the_map_starts_without_changing_the_shape_of_the_space(dim, teacher_dim):
    weight = Distillation(dim, teacher_dim).projection.weight.detach()
    square = weight @ weight.T if dim > teacher_dim else weight.T @ weight
    torch.testing.assert_close(square, 0.81 * torch.eye(4), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["relational", "similarity"])
def test_relations_need_no_map(kind):
    loss = Distillation(3, 5, kind)
    assert not list(loss.parameters())
    student, teacher = vectors(dim=3), vectors(seed=1)
    torch.testing.assert_close(loss(student, teacher), reference(kind, student, teacher))


@pytest.mark.parametrize("kind", ["relational", "similarity"])
def test_relations_do_not_mind_a_turn_or_more_numbers(kind):
    teacher = vectors()
    turn = torch.linalg.qr(vectors(8, 8, seed=2)).Q[:5]
    assert Distillation(8, 5, kind)(teacher @ turn, teacher) == pytest.approx(0, abs=1e-9)


def test_many_images_go_in_blocks(monkeypatch):
    from lookalike.losses import distillation

    student, teacher = vectors(11).requires_grad_(), vectors(11, seed=1)
    loss = Distillation(5, 5, "relational")
    whole = loss(student, teacher)
    wanted = torch.autograd.grad(whole, student)
    monkeypatch.setattr(distillation, "BLOCK", 3 * 11 * 11)
    value = loss(student, teacher)
    torch.testing.assert_close(value, whole)
    torch.testing.assert_close(torch.autograd.grad(value, student), wanted)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rows", ["none", "one", "two", "equal", "zero", "at the teacher"])
def test_odd_batches_give_a_number_and_a_gradient(kind, rows):
    count = {"none": 0, "one": 1, "two": 2}.get(rows, 5)
    student, teacher = vectors(count).float(), vectors(count, seed=1).float()
    if rows == "equal":
        student[:], teacher[:] = student[0].clone(), teacher[0].clone()
    if rows == "zero":
        student[1] = 0
    if rows == "at the teacher":
        student = 4 * teacher.clone()
    student.requires_grad_()
    value = Distillation(5, 5, kind)(student, teacher)
    value.backward()
    assert value.isfinite() and student.grad.isfinite().all()
    assert student.grad.abs().max() < 100 if count else True
    if rows == "at the teacher":
        assert value < 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_embeddings_are_compared_in_float32(kind):
    student, teacher = vectors().half(), vectors(seed=1).float()
    wanted = Distillation(5, 5, kind)(student.float(), teacher)
    with torch.autocast("cpu", torch.bfloat16):
        value = Distillation(5, 5, kind)(student, teacher)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, wanted)


@pytest.mark.parametrize("kind", KINDS)
def test_steps_bring_the_student_nearer(kind):
    torch.manual_seed(0)
    student, teacher = torch.nn.Parameter(torch.randn(12, 4)), torch.randn(12, 6)
    loss = Distillation(4, 6, kind)
    optimizer = torch.optim.Adam([student, *loss.parameters()], lr=0.05)
    first = loss(student, teacher).item()
    for _ in range(80):
        optimizer.zero_grad()
        value = loss(student, teacher)
        value.backward()
        optimizer.step()
    assert value.item() < 0.6 * first


def test_wrong_shapes_and_values_are_refused():
    loss = Distillation(4, 6)
    with pytest.raises(ValueError, match=r"the teacher's \[B, 6\], got \[3, 4\] and \[2, 6\]"):
        loss(torch.ones(3, 4), torch.ones(2, 6))
    with pytest.raises(ValueError, match="got"):
        loss(torch.ones(3, 5), torch.ones(3, 6))
    with pytest.raises(ValueError, match="kind must be one of cosine, l1, l2, relational, similarity"):
        Distillation(4, 6, "mse")
    with pytest.raises(ValueError, match="temperature 0: temperature must be above 0"):
        Distillation(4, 6, temperature=0)


def test_as_a_term_it_gets_the_teacher_and_is_left_out_without():
    torch.manual_seed(0)
    head, distilled = ArcFace(num_classes=3, dim=4), Distillation(4, 6)
    terms = Terms({"arcface": (1.0, head), "distill": (0.5, distilled)})
    student, teacher, labels = torch.randn(5, 4), torch.randn(5, 6), torch.tensor([0, 1, 2, 0, 1])
    both = head(student, labels) + 0.5 * distilled(student, teacher)
    torch.testing.assert_close(terms(student, labels, teacher), both)
    torch.testing.assert_close(terms.last["distill"], 0.5 * distilled(student, teacher).detach())
    torch.testing.assert_close(terms(student, labels), head(student, labels))
    assert terms.last.keys() == {"arcface"}
