"""Every file in conf/loss keeps the promises below; a new file is picked up by itself."""

import copy
import inspect
from functools import partial
from importlib import import_module
from pathlib import Path

import pytest
import torch
import yaml
from hydra.utils import instantiate

import lookalike.losses
from lookalike.losses import PairLoss, ProxyLoss

CONF = Path(lookalike.losses.__file__).parents[1] / "conf" / "loss"
TERMS = {
    name: node
    for file in sorted(CONF.glob("*.yaml"))
    for name, node in yaml.safe_load(file.read_text()).items()
}
CLASSES, DIM = 6, 16
DATA = {"several images of each class", "any batch", "any batch, many classes", "beside another loss"}
RANDOM = {"elastic_arcface", "elastic_cosface", "margin"}  # draw, so another order is another draw
BELOW_ZERO = {"koleo", "uniformity", "dynamic_soft_margin"}  # a logarithm, an entropy, a difference


def target(node):
    module, _, name = node["_target_"].rpartition(".")
    return getattr(import_module(module), name)


def arguments(node):
    return set(inspect.signature(target(node)).parameters)


def build(name, num_classes=CLASSES, dim=DIM, change=None):
    node = copy.deepcopy(TERMS[name])
    node.pop("weight")
    if change is not None:
        (*inside, key), value = change
        part = node
        for each in inside:
            part = part[each]
        part[key] = value
    torch.manual_seed(0)
    sizes = {"num_classes": num_classes, "class_counts": [4] * num_classes, "dim": dim}
    return instantiate(node, **{key: sizes[key] for key in sizes.keys() & arguments(node)})


def has_proxies(loss):
    return isinstance(loss, ProxyLoss)


def batch(seed=0, per_class=4, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(CLASSES).repeat_interleave(per_class)
    centers = torch.randn(CLASSES, DIM, generator=generator)
    embeddings = 0.4 * centers[labels] + torch.randn(len(labels), DIM, generator=generator)
    return embeddings.to(dtype).requires_grad_(), labels


def value_and_gradient(loss, embeddings, labels):
    embeddings = embeddings.detach().clone().requires_grad_()
    getattr(loss, "func", loss).zero_grad()
    torch.manual_seed(0)
    value = loss(embeddings, labels)
    value.backward()
    return value.detach(), embeddings.grad


every_loss = pytest.mark.parametrize("name", TERMS)
with_proxies = pytest.mark.parametrize("name", [name for name in TERMS if has_proxies(build(name))])
with_pairs = pytest.mark.parametrize("name", [name for name in TERMS if isinstance(build(name), PairLoss)])


def test_each_file_holds_one_loss_of_its_own_name():
    assert len(TERMS) > 40
    for file in CONF.glob("*.yaml"):
        assert list(yaml.safe_load(file.read_text())) == [file.stem]


@every_loss
def test_yaml_lists_every_argument_with_the_python_default(name):
    check_defaults(TERMS[name], extra={"weight"}, given={"num_classes", "class_counts", "dim"})


def check_defaults(node, extra=frozenset(), given=frozenset()):
    """A nested node, such as a miner, is checked against its own function."""
    parameters = inspect.signature(target(node)).parameters
    written = {key: value for key, value in node.items() if not key.startswith("_") and key not in extra}
    free = {"sim", "positive", "negative"} if node.get("_partial_") else set()
    assert written.keys() == parameters.keys() - given - free
    for key, value in written.items():
        if isinstance(value, dict):
            check_defaults(value)
        else:
            assert value == parameters[key].default
            assert type(value) is type(parameters[key].default), f"{key}: {value!r}"


@every_loss
def test_every_yaml_line_says_what_it_does(name):
    lines = (CONF / f"{name}.yaml").read_text().splitlines()
    assert lines[0].startswith("# ")
    assert lines[1].removeprefix("# Data: ") in DATA
    assert all("  # " in line for line in lines[3:])


@every_loss
def test_value_is_a_finite_scalar_and_gradient_finite_and_not_zero(name):
    value, gradient = value_and_gradient(build(name), *batch())
    assert value.shape == () and value.dtype == torch.float32 and value.isfinite()
    assert value >= 0 or name in BELOW_ZERO
    assert gradient.isfinite().all() and gradient.abs().sum() > 0


@every_loss
def test_order_of_the_batch_does_not_matter(name):
    if name in RANDOM:
        pytest.skip("draws what it compares")
    loss, (embeddings, labels) = build(name), batch()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(3))
    value, gradient = value_and_gradient(loss, embeddings, labels)
    shuffled, shuffled_gradient = value_and_gradient(loss, embeddings[order], labels[order])
    torch.testing.assert_close(shuffled, value)
    torch.testing.assert_close(shuffled_gradient, gradient[order], atol=1e-6, rtol=1e-4)


@every_loss
def test_length_of_the_embeddings_matters_where_it_is_said(name):
    for scale in (1e-4, 1e4):
        loss, (embeddings, labels) = build(name), batch()
        value, _ = value_and_gradient(loss, scale * embeddings, labels)
        assert value.isfinite(), scale
        expected, _ = value_and_gradient(loss, embeddings, labels)
        if loss.uses_length:
            assert not torch.isclose(value, expected, rtol=1e-4, atol=1e-6), scale
        else:
            torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-6)


def degenerate():
    embeddings, labels = batch()
    same = torch.ones_like(embeddings)
    return {
        "no positives": (embeddings[::4], labels[::4]),
        "one class": (embeddings[:4], labels[:4]),
        "one image": (embeddings[:1], labels[:1]),
        "empty": (embeddings[:0], labels[:0]),
        "identical": (same, labels),
        "identical, one class": (same, torch.zeros_like(labels)),
        "opposite": (torch.where((labels % 2 == 0)[:, None], same, -same), labels),
        "zero vectors": (torch.zeros_like(embeddings), labels),
        "one zero vector": (embeddings * (torch.arange(len(labels)) > 0)[:, None], labels),
    }


@every_loss
def test_degenerate_batches_are_finite_and_connected(name):
    for case, (embeddings, labels) in degenerate().items():
        for dtype in (torch.float32, torch.bfloat16, torch.float16):
            loss = build(name)
            value, gradient = value_and_gradient(loss, embeddings.to(dtype), labels)
            assert value.isfinite(), (case, dtype)
            assert gradient.isfinite().all(), (case, dtype)
            gradients = [parameter.grad for parameter in loss.parameters()]
            assert all(each is not None and each.isfinite().all() for each in gradients), (case, dtype)


@every_loss
def test_training_can_notice_embeddings_that_are_no_numbers(name):
    embeddings, labels = batch()
    value, gradient = value_and_gradient(build(name), embeddings * float("nan"), labels)
    assert not (value.isfinite() and gradient.isfinite().all())


@with_proxies
def test_embedding_on_its_proxy_or_opposite_is_finite(name):
    for sign in (1, -1):
        loss = build(name)
        proxies = next(loss.parameters()).detach()
        value, gradient = value_and_gradient(loss, sign * proxies[:CLASSES], torch.arange(CLASSES))
        assert value.isfinite() and gradient.isfinite().all(), sign
        assert all(parameter.grad.isfinite().all() for parameter in loss.parameters()), sign


@every_loss
def test_half_precision_is_computed_in_float32(name):
    for dtype in (torch.bfloat16, torch.float16):
        loss, (embeddings, labels) = build(name), batch(dtype=dtype)
        value, gradient = value_and_gradient(loss, embeddings, labels)
        expected, expected_gradient = value_and_gradient(loss, embeddings.float(), labels)
        torch.testing.assert_close(value, expected)
        assert gradient.dtype == dtype
        torch.testing.assert_close(gradient, expected_gradient.to(dtype))


@every_loss
def test_autocast_changes_nothing(name):
    loss, (embeddings, labels) = build(name), batch()
    value, gradient = value_and_gradient(loss, embeddings, labels)
    torch.manual_seed(0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = loss(embeddings, labels)
        cast.backward()
    torch.testing.assert_close(cast.detach(), value, rtol=0, atol=0)
    torch.testing.assert_close(embeddings.grad, gradient, rtol=0, atol=0)


@every_loss
def test_labels_that_differ_by_one_near_the_largest_integer_are_told_apart(name):
    loss, (embeddings, labels) = build(name), batch()
    if has_proxies(loss):
        with pytest.raises(ValueError, match="labels must be from 0 to 5"):
            loss(embeddings, labels + 2**63 - 10)
    else:
        value, gradient = value_and_gradient(loss, embeddings, labels)
        far, far_gradient = value_and_gradient(loss, embeddings, labels + (2**63 - 10))
        torch.testing.assert_close(far, value)
        torch.testing.assert_close(far_gradient, gradient)


@every_loss
def test_unknown_labels_are_left_out_or_refused(name):
    loss, (embeddings, labels) = build(name), batch()
    unknown = labels.clone()
    unknown[::4] = -1
    if has_proxies(loss):
        with pytest.raises(ValueError, match="needs every label"):
            loss(embeddings, unknown)
    else:
        _, gradient = value_and_gradient(loss, embeddings, unknown)
        assert gradient[::4].abs().max() == 0
        assert gradient.abs().sum() > 0


INTEGERS = [torch.uint8, torch.int8, torch.int16, torch.int32, torch.uint16, torch.uint32, torch.uint64]
WHOLE = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


@every_loss
def test_labels_of_other_types_are_those_of_int64(name):
    for dtype in INTEGERS + WHOLE:
        loss, (embeddings, labels) = build(name), batch()
        if not has_proxies(loss) and torch.tensor(-1).to(dtype) != -1:  # unsigned: the largest is a class
            labels = torch.where(labels == 0, torch.iinfo(dtype).max if dtype.itemsize < 8 else 9, labels)
        expected = value_and_gradient(loss, embeddings, labels)
        found = value_and_gradient(build(name), embeddings, labels.to(dtype))
        torch.testing.assert_close(
            found, expected, rtol=0, atol=0, msg=lambda text, dtype=dtype: f"{dtype}: {text}"
        )


@every_loss
def test_bool_labels_are_two_classes(name):
    loss, (embeddings, labels) = build(name), batch()
    value, gradient = value_and_gradient(loss, embeddings, labels % 2)
    other, other_gradient = value_and_gradient(build(name), embeddings, labels % 2 == 1)
    torch.testing.assert_close(other, value, rtol=0, atol=0)
    torch.testing.assert_close(other_gradient, gradient, rtol=0, atol=0)


@with_pairs
def test_the_largest_byte_in_a_memory_is_a_class(name):
    loss, (embeddings, labels) = build(name), batch()
    labels = torch.where(labels == 0, 255, labels)
    seen, _ = batch(seed=1)
    expected, _ = value_and_gradient(partial(loss, extra=(seen.detach(), labels)), embeddings, labels)
    other = partial(build(name), extra=(seen.detach(), labels.byte()))
    torch.testing.assert_close(value_and_gradient(other, embeddings, labels.byte())[0], expected)


@every_loss
def test_labels_that_are_no_exact_integers_are_refused(name):
    loss, (embeddings, labels) = build(name), batch()
    for wrong in (0.5, float("nan"), float("inf"), 2.0**24 + 2, 1j):
        with pytest.raises(ValueError, match="labels must be integers"):
            loss(embeddings, labels + torch.full(labels.shape, wrong))


def numbers(node, path=()):
    """Paths of all numeric arguments, those of nested objects and of miners too."""
    for key, value in node.items():
        if isinstance(value, dict):
            yield from numbers(value, (*path, key))
        elif type(value) in (int, float) and not key.startswith("_") and key != "weight":
            yield (*path, key)


NUMBERS = [(name, path) for name, node in TERMS.items() for path in numbers(node)]
ids = [f"{name}-{'.'.join(path)}" for name, path in NUMBERS]


@pytest.mark.parametrize(("name", "path"), NUMBERS, ids=ids)
def test_arguments_that_are_not_finite_are_refused(name, path):
    for wrong in (float("nan"), float("inf"), float("-inf")):
        with pytest.raises(Exception, match=rf"{path[-1]}.*{wrong}"):
            build(name, change=(path, wrong))(*batch())


def slope(loss, embeddings, labels, along):
    """The gradient in a direction, as a function of the embeddings."""
    torch.manual_seed(0)
    (gradient,) = torch.autograd.grad(loss(embeddings, labels), embeddings, create_graph=True)
    return (gradient * along).sum()


@every_loss
def test_second_order_gradients_are_right_or_refused(name):
    loss, (embeddings, labels) = build(name).double(), batch(dtype=torch.float64)
    along = torch.randn(embeddings.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    try:
        (found,) = torch.autograd.grad(slope(loss, embeddings, labels, along), embeddings)
    except RuntimeError as error:
        assert "no second-order gradients" in str(error)
        return
    step = 1e-6
    sides = []
    for sign in (1, -1):
        moved = (embeddings + sign * step * along).detach().requires_grad_()
        torch.manual_seed(0)
        sides.append(torch.autograd.grad(loss(moved, labels), moved)[0])
    torch.testing.assert_close(found, (sides[0] - sides[1]) / (2 * step), rtol=1e-4, atol=1e-5)


@every_loss
def test_shapes_that_do_not_fit_are_refused(name):
    embeddings, labels = batch()
    with pytest.raises(ValueError, match=r"labels \[B\]"):
        build(name)(embeddings, labels[:-1])
    with pytest.raises(TypeError, match="must be tensors, got Tensor and list"):
        build(name)(embeddings, labels.tolist())


@every_loss
def test_sixty_steps_lower_it(name):
    loss, (embeddings, labels) = build(name), batch()
    embeddings = embeddings.detach().clone().requires_grad_()
    optimizer = torch.optim.SGD([embeddings, *loss.parameters()], lr=0.5)
    start, _ = value_and_gradient(loss, embeddings, labels)
    for _ in range(60):
        optimizer.zero_grad()
        loss(embeddings, labels).backward()
        optimizer.step()
    end, _ = value_and_gradient(loss, embeddings, labels)
    assert end < start - 0.02 * start.abs()


@every_loss
def test_every_parameter_moves_and_survives_saving(name, tmp_path):
    loss, (embeddings, labels) = build(name), batch()
    before = copy.deepcopy(loss.state_dict())
    if any(True for _ in loss.parameters()):
        optimizer = torch.optim.SGD(loss.parameters(), lr=0.1)
        loss(embeddings, labels).backward()
        optimizer.step()
        assert all((before[key] != value).any() for key, value in loss.named_parameters())
    torch.save(loss.state_dict(), tmp_path / "loss.pt")
    other = build(name)
    other.load_state_dict(torch.load(tmp_path / "loss.pt", weights_only=True))
    found, expected = (value_and_gradient(each, embeddings, labels)[0] for each in (other, loss))
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


@with_pairs
def test_memory_counts_as_more_to_compare_with(name):
    loss, (embeddings, labels) = build(name), batch()
    seen, seen_labels = batch(seed=1)
    empty = (torch.zeros(5, DIM), torch.full((5,), -1))
    alone, _ = value_and_gradient(loss, embeddings, labels)
    full, _ = value_and_gradient(partial(loss, extra=(seen.detach(), seen_labels)), embeddings, labels)
    assert full.isfinite() and full != alone
    nothing, _ = value_and_gradient(partial(build(name), extra=empty), embeddings, labels)
    torch.testing.assert_close(nothing, alone)


@every_loss
def test_double_precision_gradient_is_the_derivative(name):
    loss, (embeddings, labels) = build(name).double(), batch(dtype=torch.float64)
    if getattr(loss, "holds_fixed", False):
        pytest.skip("holds a part fixed, as its paper says; its reference test checks the gradient")

    def loss_after_seed(x):
        torch.manual_seed(0)
        return loss(x, labels)

    assert torch.autograd.gradcheck(loss_after_seed, embeddings, fast_mode=True)
