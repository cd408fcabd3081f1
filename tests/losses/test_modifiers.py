"""CrossBatchMemory and Matryoshka against the same done by hand."""

import pytest
import torch
import torch.distributed as dist
from torch import nn

from lookalike.errors import LookalikeError
from lookalike.losses import (
    Contrastive,
    CrossBatchMemory,
    EmbeddingNorm,
    Matryoshka,
    MultiSimilarity,
    ProxyAnchor,
    Sigmoid,
    Terms,
    Triplet,
)
from lookalike.losses.modifiers import AcrossProcesses

DIM = 6


def batches(count=6, size=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        embeddings = torch.randn(size, DIM, generator=generator, requires_grad=True)
        yield embeddings, torch.randint(4, (size,), generator=generator)


def result(loss, embeddings, labels, **given):
    value = loss(embeddings, labels, **given)
    return value.detach(), torch.autograd.grad(value, embeddings)[0]


def by_hand(loss, size, warm_up=0, **kind):
    """Each step's value and gradient with a list in place of the memory."""
    past, names = torch.zeros(0, DIM), torch.zeros(0, dtype=torch.int64)
    for step, (embeddings, labels) in enumerate(batches(**kind)):
        yield result(loss, embeddings, labels, extra=(past, names) if step >= warm_up else None)
        past = torch.cat([past, embeddings.detach()])[-size:]
        names = torch.cat([names, labels])[-size:]


@pytest.mark.parametrize("size", [5, 8, 20, 24, 100])
@pytest.mark.parametrize("warm_up", [0, 2])
def test_equals_the_loss_with_past_batches_as_extra(size, warm_up):
    loss = MultiSimilarity()
    memory = CrossBatchMemory(loss, size, DIM, warm_up)
    expected = by_hand(loss, size, warm_up)
    for (embeddings, labels), wanted in zip(batches(), expected, strict=True):
        torch.testing.assert_close(result(memory, embeddings, labels), wanted)


def test_an_empty_memory_is_no_memory():
    embeddings, labels = next(batches())
    for loss in (MultiSimilarity(), Triplet(), Contrastive(), Sigmoid()):
        found = result(CrossBatchMemory(loss, 16, DIM), embeddings, labels)
        torch.testing.assert_close(found, result(loss, embeddings, labels))


def test_the_oldest_rows_are_written_over_first():
    memory = CrossBatchMemory(Contrastive(), 5, DIM)
    rows = torch.arange(1.0, 9.0)[:, None].expand(8, DIM)
    memory(rows[:3], torch.arange(3))
    assert memory.labels.tolist() == [0, 1, 2, -1, -1]
    memory(rows[3:7], torch.arange(3, 7))
    assert memory.labels.tolist() == [5, 6, 2, 3, 4]
    assert memory.vectors[:, 0].tolist() == [6, 7, 3, 4, 5]
    memory(rows, torch.arange(10, 18))
    assert sorted(memory.labels.tolist()) == [13, 14, 15, 16, 17]


@pytest.mark.parametrize("stop", [1, 3, 5])
def test_saved_and_loaded_half_way_it_goes_on_exactly(stop, tmp_path):
    whole = CrossBatchMemory(Triplet(), 20, DIM, warm_up=2)
    expected = [result(whole, *each) for each in batches()]
    first, second = (CrossBatchMemory(Triplet(), 20, DIM, warm_up=2) for _ in range(2))
    steps = list(batches())
    found = [result(first, *each) for each in steps[:stop]]
    torch.save(first.state_dict(), tmp_path / "memory.pt")
    second.load_state_dict(torch.load(tmp_path / "memory.pt", weights_only=True))
    found += [result(second, *each) for each in steps[stop:]]
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_in_eval_mode_it_reads_but_does_not_change():
    memory = CrossBatchMemory(MultiSimilarity(), 16, DIM)
    first, second = list(batches(2))
    memory(*first)
    state = {name: value.clone() for name, value in memory.state_dict().items()}
    memory.eval()
    found = result(memory, *second)
    torch.testing.assert_close(memory.state_dict(), state, rtol=0, atol=0)
    extra = (first[0].detach(), first[1])
    torch.testing.assert_close(found, result(MultiSimilarity(), *second, extra=extra))


def test_nothing_of_the_memory_gets_a_gradient_and_two_batches_can_wait_for_theirs():
    memory = CrossBatchMemory(MultiSimilarity(), 16, DIM)
    first, second = list(batches(2))
    values = [memory(*first), memory(*second)]
    alone = torch.autograd.grad(values[1], [first[0], second[0]], allow_unused=True)
    assert alone[0] is None
    assert alone[1].abs().sum() > 0
    values[0].backward()
    assert first[0].grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_any_precision_is_held_in_float32(dtype):
    memory = CrossBatchMemory(MultiSimilarity(), 16, DIM)
    for embeddings, labels in batches(3):
        assert memory(embeddings.to(dtype), labels.int()).isfinite()
    assert memory.vectors.dtype == torch.float32
    assert memory.labels.dtype == torch.int64


def test_small_unsigned_labels_do_not_meet_the_empty_rows():
    embeddings, _ = next(batches())
    labels = torch.tensor([255, 255, 1, 1, 2, 2, 3, 3], dtype=torch.uint8)
    found = result(CrossBatchMemory(MultiSimilarity(), 16, DIM), embeddings, labels)
    torch.testing.assert_close(found, result(MultiSimilarity(), embeddings, labels.long()))


def test_the_loss_inside_is_seen_from_outside():
    memory = CrossBatchMemory(Triplet(margin=1.0), 16, DIM)
    terms = Terms({"triplet": (1.0, memory)})
    terms(*next(batches()))
    assert 0 < terms.details["triplet_active_share"] <= 1
    assert not memory.uses_length
    learned = CrossBatchMemory(Sigmoid(), 16, DIM)
    assert [name for name, _ in learned.named_parameters()] == ["loss.log_scale", "loss.bias"]


@pytest.fixture
def one_process(tmp_path):
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_inside_across_processes_it_keeps_the_whole_gathered_batch(one_process):
    memory, plain = (CrossBatchMemory(MultiSimilarity(), 20, DIM) for _ in range(2))
    across = AcrossProcesses(memory)
    for each in batches():
        torch.testing.assert_close(result(across, *each), result(plain, *each))
    torch.testing.assert_close(memory.state_dict(), plain.state_dict())


@pytest.mark.parametrize("loss", [ProxyAnchor(4, DIM), EmbeddingNorm(), nn.MSELoss()])
def test_a_loss_that_takes_no_memory_is_refused(loss):
    with pytest.raises(ValueError, match=f"CrossBatchMemory loss {type(loss).__name__}: the loss has no arg"):
        CrossBatchMemory(loss, 16, DIM)


@pytest.mark.parametrize(("name", "value"), [("size", 0), ("dim", 0), ("warm_up", -1)])
def test_a_memory_of_nonsense_is_refused(name, value):
    with pytest.raises(ValueError, match=f"CrossBatchMemory {name} {value}"):
        CrossBatchMemory(Triplet(), **({"size": 4, "dim": DIM} | {name: value}))


def test_embeddings_of_another_length_are_refused():
    with pytest.raises(ValueError, match=f"dimension 4, got {DIM}"):
        CrossBatchMemory(Triplet(), 16, 4)(*next(batches()))


@pytest.mark.parametrize("weights", [None, {2: 3.0}, {2: 0.0, 4: 1.0, 6: 0.5}])
def test_matryoshka_is_the_mean_over_the_lengths(weights):
    embeddings, labels = next(batches())
    loss = MultiSimilarity()
    total, sum_of_weights = 0, 0
    for dim in (2, 4, 6):
        weight = (weights or {}).get(dim, 1.0)
        total = total + weight * loss(embeddings[:, :dim], labels)
        sum_of_weights += weight
    expected = (total / sum_of_weights).detach(), torch.autograd.grad(total / sum_of_weights, embeddings)[0]
    found = result(Matryoshka(dict.fromkeys((2, 4, 6), loss), weights), embeddings, labels)
    torch.testing.assert_close(found, expected)


def test_matryoshka_has_proxies_of_each_length():
    torch.manual_seed(0)
    parts = {dim: ProxyAnchor(4, dim) for dim in (3, 6)}
    loss = Matryoshka(parts)
    embeddings, labels = next(batches())
    value = loss(embeddings, labels)
    value.backward()
    expected = sum(part(embeddings[:, :dim], labels) for dim, part in parts.items()) / 2
    torch.testing.assert_close(value, expected)
    assert {tuple(p.shape) for p in loss.parameters()} == {(4, 3), (4, 6)}
    assert all(p.grad.abs().sum() > 0 for p in loss.parameters())
    assert Matryoshka({3: Sigmoid(), 6: EmbeddingNorm()}).uses_length


def test_matryoshka_of_memories_keeps_one_for_each_length():
    loss = Matryoshka({dim: CrossBatchMemory(Triplet(), 20, dim) for dim in (3, 6)})
    past = []
    for embeddings, labels in batches():
        extras = [torch.cat(each)[-20:] for each in zip(*past, strict=True)] if past else None
        expected = sum(
            Triplet()(embeddings[:, :d], labels, (extras[0][:, :d], extras[1]) if extras else None)
            for d in (3, 6)
        )
        torch.testing.assert_close(loss(embeddings, labels), expected / 2)
        past.append((embeddings.detach(), labels))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Matryoshka({}), "Matryoshka losses"),
        (lambda: Matryoshka({0: Triplet()}), "Matryoshka losses"),
        (lambda: Matryoshka({4: Triplet()}, {8: 1.0}), "Matryoshka weights"),
        (lambda: Matryoshka({4: Triplet()}, {4: 0.0}), "Matryoshka weights"),
        (lambda: Matryoshka({4: Triplet()}, {4: -1.0}), "Matryoshka weights"),
        (lambda: Matryoshka({DIM + 1: Triplet()})(*next(batches())), "the greatest length is 7"),
    ],
)
def test_a_matryoshka_of_nonsense_is_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


class Given(nn.Module):
    """A loss of the user's own that gives what it is told to."""

    def __init__(self, give):
        super().__init__()
        self.give = give

    def forward(self, embeddings, labels):
        return self.give(embeddings)


@pytest.mark.parametrize(
    ("give", "said"),
    [
        (lambda embeddings: embeddings.square().sum(dim=1), r"loss mine: returned a tensor \[8\]"),
        (lambda embeddings: 3.0, "loss mine: returned float"),
        (lambda embeddings: None, "loss mine: returned NoneType"),
        (lambda embeddings: embeddings.detach().sum(), "loss mine: has no gradient"),
    ],
)
def test_a_loss_that_gives_no_number_to_learn_from_is_refused(give, said):
    embeddings, labels = next(batches())
    with pytest.raises(LookalikeError, match=said):
        Terms({"mine": (1.0, Given(give))})(embeddings, labels)
    with torch.no_grad():
        assert Terms({"mine": (2.0, Given(lambda e: e.sum()[None]))})(embeddings, labels).shape == ()
