"""The validation loss is that of training, or has another name."""

import copy
import inspect
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hydra.utils import instantiate
from torch import nn

import lookalike
from lookalike.losses import GOR, ArcFace, ProxyLoss, Triplet
from lookalike.losses.cross_batch_memory import CrossBatchMemory
from lookalike.losses.matryoshka import Matryoshka
from lookalike.losses.modifiers import Terms
from lookalike.training.validation_loss import bound_terms, uses_length, validation_loss

CONF = Path(lookalike.losses.__file__).parents[1] / "conf" / "loss"
NODES = {
    name: node
    for file in sorted(CONF.glob("*.yaml"))
    for name, node in yaml.safe_load(file.read_text()).items()
}
CLASSES, DIM = 7, 6
CODES = np.repeat(np.arange(5), 4)
VECTORS = np.random.default_rng(0).normal(size=(20, DIM)).astype(np.float32)


def build(name):
    node = copy.deepcopy(NODES[name])
    node.pop("weight")
    module, _, kind = node["_target_"].rpartition(".")
    sizes = {"num_classes": CLASSES, "class_counts": [4] * CLASSES, "dim": DIM}
    asked = inspect.signature(getattr(import_module(module), kind)).parameters
    return instantiate(node, **{key: value for key, value in sizes.items() if key in asked})


def directly(loss):
    """The loss of the one batch that all the images are, with the same random numbers."""
    torch.manual_seed(3)
    with torch.no_grad():
        return float(copy.deepcopy(loss).eval()(torch.from_numpy(VECTORS), torch.from_numpy(CODES)))


@pytest.mark.parametrize("name", NODES)
def test_every_loss_is_computed_or_said_to_be_bound(name):
    loss = build(name)
    found = validation_loss(Terms({name: (2.0, loss)}), VECTORS, CODES, 3, CLASSES)
    if isinstance(loss, ProxyLoss):
        assert bound_terms(Terms({name: (2.0, loss)}), CLASSES) == [name]
        assert list(found) == ["semi_hard_triplet_loss"]
    elif name == "margin":  # draws, so another order is another draw
        assert found["loss"] == pytest.approx(2 * directly(loss), rel=0.2)
    else:
        assert found == pytest.approx({"loss": 2 * directly(loss)}, rel=2e-4)


@pytest.mark.parametrize("name", ["n_pairs", "embedding_norm"])
def test_lengths_are_asked_for_where_they_matter(name):
    assert uses_length(Terms({name: (1.0, build(name))}))
    assert not uses_length(Terms({"t": (1.0, build("triplet"))}))


def test_part_of_a_sum_has_a_name_of_its_own():
    terms = Terms({"arcface": (1.0, ArcFace(CLASSES, DIM)), "gor": (2.0, GOR())})
    found = validation_loss(terms, VECTORS, CODES, 3, CLASSES)
    assert found == pytest.approx({"loss_gor": 2 * directly(GOR())}, rel=1e-5)


def test_memories_are_not_looked_at_and_nothing_changes():
    memory = CrossBatchMemory(Triplet(), 8, DIM)
    memory(torch.randn(8, DIM), torch.arange(8) % 4)
    lengths = Matryoshka({4: CrossBatchMemory(Triplet(), 8, 4), DIM: Triplet()})
    terms = Terms({"memory": (1.0, memory), "lengths": (1.0, lengths)})
    terms(torch.randn(8, DIM), torch.arange(8) % 4)
    before, random = copy.deepcopy(terms.state_dict()), torch.get_rng_state()
    found = validation_loss(terms, VECTORS, CODES, 3, CLASSES)
    assert torch.equal(random, torch.get_rng_state())
    plain = Matryoshka({4: Triplet(), DIM: Triplet()})
    assert found["loss"] == pytest.approx(directly(Triplet()) + directly(plain), rel=1e-4)
    assert all(torch.equal(value, before[name]) for name, value in terms.state_dict().items())
    assert terms.training
    assert memory.warm_up == 0


class Counting(nn.Module):
    """A loss of the user's own, with state in a buffer and in plain attributes."""

    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(1))
        self.calls, self.losses = 0, []

    def forward(self, embeddings, labels):
        self.seen += len(embeddings)
        self.calls += 1
        self.losses.append(1.0)
        return embeddings.pow(2).mean()


class PerClass(nn.Module):
    """A loss of the user's own with a vector for each class, which it does not tell."""

    def __init__(self):
        super().__init__()
        self.centers = nn.Parameter(torch.randn(CLASSES, DIM))

    def forward(self, embeddings, labels):
        return (embeddings - self.centers[labels]).pow(2).mean()


def test_a_loss_of_ones_own_is_computed_and_stays_as_it_was():
    own = Counting()
    found = validation_loss(Terms({"own": (1.0, own)}), VECTORS, CODES, 3, CLASSES)
    assert found == pytest.approx({"loss": float(np.square(VECTORS).mean())}, rel=1e-5)
    assert (float(own.seen), own.calls, own.losses) == (0, 0, [])
    assert uses_length(Terms({"own": (1.0, own)}))


def test_a_loss_of_ones_own_with_class_vectors_has_no_value_on_other_classes():
    assert bound_terms(Terms({"own": (1.0, PerClass())}), CLASSES) == ["own"]
