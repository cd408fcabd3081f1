"""The similarity, the means and Terms."""

import pytest
import torch
from torch import nn

from lookalike.losses import GOR, Contrastive, PairLoss, ProxyAnchor, Terms, Triplet, cosine, mean_over


def test_cosine_is_right_for_half_precision_and_under_autocast():
    vectors = torch.randn(16, 64, generator=torch.Generator().manual_seed(0))
    half = (1e-4 * vectors).half()
    expected = nn.functional.normalize(half.double()) @ nn.functional.normalize(half.double()).T
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = cosine(half, half)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("rows", [3, 9])
def test_gradient_of_cosine_is_that_of_normalising_first(rows):
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(5, 4, generator=generator, dtype=torch.float64).requires_grad_()
    b = torch.randn(rows, 4, generator=generator, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(cosine, (a, b))
    assert torch.autograd.gradcheck(lambda x: cosine(x, x), a)
    plain = nn.functional.normalize(a) @ nn.functional.normalize(b).T
    torch.testing.assert_close(cosine(a, b), plain)


def test_zero_vectors_are_similar_to_nothing_and_get_no_gradient():
    vectors = torch.zeros(3, 4, requires_grad=True)
    sim = cosine(vectors, torch.eye(4))
    sim.sum().backward()
    assert sim.abs().sum() == 0
    assert vectors.grad.abs().sum() == 0


def test_mean_over_ignores_what_is_masked_even_infinity():
    values = torch.tensor([1.0, float("inf"), 3.0], requires_grad=True)
    mean = mean_over(values, torch.tensor([True, False, True]))
    mean.backward()
    assert mean == 2
    assert values.grad.tolist() == [0.5, 0, 0.5]


def test_mean_over_nothing_is_a_connected_zero():
    values = torch.ones(3, requires_grad=True)
    mean = mean_over(values, torch.zeros(3, dtype=torch.bool))
    mean.backward()
    assert mean == 0
    assert values.grad.tolist() == [0, 0, 0]


def test_an_image_is_no_pair_with_itself_and_unknown_ones_are_in_no_pair():
    seen = {}

    class Look(PairLoss):
        def pairs(self, sim, positive, negative):
            seen.update(positive=positive, negative=negative)
            return sim.sum()

    extra = (torch.randn(2, 4), torch.tensor([7, -1]))
    Look()(torch.randn(3, 4), torch.tensor([7, 8, -1]), extra)
    assert seen["positive"].int().tolist() == [[0, 0, 0, 1, 0], [0] * 5, [0] * 5]
    assert seen["negative"].int().tolist() == [[0, 1, 0, 0, 0], [1, 0, 0, 1, 0], [0] * 5]


def test_a_miner_sees_no_gradient_and_narrows_every_pair_loss():
    def nothing(sim, positive, negative):
        assert not sim.requires_grad
        return positive & False, negative & False

    embeddings = torch.randn(8, 4, requires_grad=True)
    for loss in (Contrastive(miner=nothing), Triplet(miner=nothing)):
        assert loss(embeddings, torch.arange(8) // 2) == 0


def test_terms_add_up_and_tell_their_shares():
    embeddings, labels = torch.randn(16, 8), torch.arange(16) // 4
    parts = {
        "triplet": (2.0, Triplet(margin=1.0)),
        "gor": (0.5, GOR()),
        "proxy_anchor": (1, ProxyAnchor(4, 8)),
    }
    terms = Terms(parts)
    total = terms(embeddings, labels)
    for name, (weight, loss) in parts.items():
        torch.testing.assert_close(terms.last[name], (weight * loss(embeddings, labels)).detach())
    torch.testing.assert_close(sum(terms.last.values()), total.detach())
    assert set(terms.details) == {"triplet_active_share"}
    assert 0 < terms.details["triplet_active_share"] <= 1
    assert [name for name, _ in terms.named_parameters()] == ["losses.proxy_anchor.proxies"]


def test_terms_takes_any_module_with_the_call():
    class Norm(nn.Module):
        def forward(self, embeddings, labels):
            return embeddings.square().mean()

    assert Terms({"norm": (3.0, Norm())})(torch.ones(2, 2), torch.arange(2)) == 3


def test_terms_of_nothing_is_refused():
    with pytest.raises(ValueError, match="no loss given"):
        Terms({})
