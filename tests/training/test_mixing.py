"""MixUp and CutMix: pixels, shares and losses against plain loops."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from lookalike import losses
from lookalike.losses.modifiers import Terms
from lookalike.training.mixing import Mixing, blend, paste, takes_mixed


def batch(count: int = 6, high: int = 9, wide: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(5)
    return torch.randint(256, (count, 3, high, wide), dtype=torch.uint8), torch.arange(count) * 10


def test_mixup_blends_each_image_with_that_of_its_second_label():
    images, labels = batch()
    mixed, pairs, share = Mixing(mixup=1.0)(images, labels, epoch=1, batch=3)
    assert 0 < share < 1
    assert mixed.dtype == torch.uint8
    assert pairs[:, 0].equal(labels) and pairs[:, 1].sort().values.equal(labels)
    for row, (first, second) in enumerate((pairs // 10).tolist()):
        wanted = share * images[first].double() + (1 - share) * images[second].double()
        assert (mixed[row].double() - wanted).abs().max() <= 0.5 + 1e-4


def test_floats_are_blended_without_rounding():
    first, second = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4)
    torch.testing.assert_close(blend(first, second, 0.3), 0.3 * first + 0.7 * second)


@pytest.mark.parametrize("epoch", range(1, 6))
def test_cutmix_counts_the_pixels_that_are_left(epoch):
    torch.manual_seed(epoch)
    labels = torch.arange(6)
    images = (labels[:, None, None, None] + 1).expand(6, 3, 9, 12).to(torch.uint8)
    mixed, pairs, share = Mixing(cutmix=1.0)(images, labels, epoch, 0)
    for row, (first, second) in enumerate(pairs.tolist()):
        values = mixed[row, 0].flatten().tolist()
        assert set(values) <= {first + 1, second + 1}
        if first != second:
            assert values.count(first + 1) / 108 == pytest.approx(share)


def box(high: int, wide: int, share: float, centre: tuple[float, float]) -> np.ndarray:
    """Which pixels are of the second image: a loop over all of them."""
    sides = [int(length * math.sqrt(1 - share)) for length in (high, wide)]
    starts = [
        int(length * at) - side // 2 for length, at, side in zip((high, wide), centre, sides, strict=True)
    ]
    inside = np.zeros((high, wide), bool)
    for row in range(high):
        for column in range(wide):
            inside[row, column] = all(
                start <= place < start + side
                for start, place, side in zip(starts, (row, column), sides, strict=True)
            )
    return inside


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("centre", [(0.0, 0.0), (0.5, 0.5), (0.99, 0.2)])
def test_the_box_is_cut_at_the_border_and_the_share_follows(share, centre):
    first, second = torch.zeros(1, 3, 10, 14), torch.ones(1, 3, 10, 14)
    mixed, left = paste(first, second, share, centre)
    inside = box(10, 14, share, centre)
    assert np.array_equal(mixed[0, 1].numpy() > 0, inside)
    assert left == pytest.approx(1 - inside.mean())
    assert not first.any()


def test_numbers_depend_on_seed_epoch_and_batch_alone():
    images, labels = batch()
    mixing = Mixing(mixup=1.0, cutmix=1.0, seed=3)
    found = mixing(images, labels, 2, 7)
    torch.manual_seed(99)
    before = torch.get_rng_state()
    again = Mixing(mixup=1.0, cutmix=1.0, seed=3)(images, labels, 2, 7)
    assert torch.get_rng_state().equal(before)
    assert again.images.equal(found.images) and again.labels.equal(found.labels)
    assert again.share == found.share
    others = [mixing(images, labels, 2, 8), mixing(images, labels, 3, 7)]
    others.append(Mixing(mixup=1.0, cutmix=1.0, seed=4)(images, labels, 2, 7))
    assert len({found.share, *(other.share for other in others)}) == 4


def test_processes_with_other_numbers_of_images_draw_the_same_share_and_box():
    for number in range(12):
        mixing = Mixing(mixup=0.4, cutmix=1.0)
        shares = {mixing(*batch(count), 1, number).share for count in (1, 5, 6)}
        assert len(shares) == 1


def test_shares_follow_the_beta_distribution_and_both_kinds_take_turns():
    images, labels = batch(4, 32, 32)
    drawn = [Mixing(mixup=0.3)(images, labels, 1, number).share for number in range(2000)]
    assert np.mean(drawn) == pytest.approx(0.5, abs=0.03)
    assert np.var(drawn) == pytest.approx(0.25 / (2 * 0.3 + 1), abs=0.01)  # of Beta(a, a): 1 / (4 (2a + 1))
    half = Mixing(mixup=1.0, cutmix=1.0, share=0.5)
    found = [half(images, labels, 1, number) for number in range(600)]
    mixed = [each for each in found if each.labels.ndim == 2]
    assert len(mixed) / 600 == pytest.approx(0.5, abs=0.08)
    cut = [each for each in mixed if (1024 * each.share) == pytest.approx(round(1024 * each.share), abs=1e-6)]
    assert len(cut) / len(mixed) == pytest.approx(0.5, abs=0.1)
    alone = next(each for each in found if each.labels.ndim == 1)
    assert alone.images is images and alone.labels is labels and alone.share == 1


def test_one_image_is_mixed_with_itself():
    images, labels = batch(1)
    mixed, pairs, _ = Mixing(mixup=1.0)(images, labels, 1, 0)
    assert (mixed.int() - images.int()).abs().max() <= 1
    assert pairs.tolist() == [[0, 0]]


@pytest.mark.parametrize(
    "values", [{"mixup": -0.1}, {"cutmix": -1}, {"mixup": math.inf}, {"share": 1.5}, {"share": -0.1}]
)
def test_values_that_mean_nothing_are_refused(values):
    with pytest.raises(ValueError, match="Mixing"):
        Mixing(**values)


def test_off_is_off():
    assert not Mixing() and not Mixing(mixup=1.0, share=0.0)
    assert Mixing(mixup=0.2) and Mixing(cutmix=1.0)


def test_the_loss_of_mixed_labels_is_the_weighed_loss_of_both():
    torch.manual_seed(0)
    head, spread = losses.ArcFace(num_classes=5, dim=4), losses.KoLeo()
    terms = Terms({"arcface": (2.0, head), "koleo": (0.5, spread)})
    embeddings = torch.randn(6, 4, requires_grad=True)
    first, second = torch.tensor([0, 1, 2, 3, 4, 0]), torch.tensor([4, 0, 2, 1, 3, 3])
    terms.mixed_share = 0.3
    value = terms(embeddings, torch.stack([first, second], dim=1))
    found = torch.autograd.grad(value, [embeddings, head.proxies])
    parts = 0.3 * head(embeddings, first) + 0.7 * head(embeddings, second)
    wanted = 2 * parts + 0.5 * spread(embeddings, first)
    torch.testing.assert_close(value, wanted)
    torch.testing.assert_close(found, torch.autograd.grad(wanted, [embeddings, head.proxies]))
    torch.testing.assert_close(terms.last["arcface"], 2 * parts.detach())


def test_cross_entropy_of_mixed_labels_is_that_of_soft_labels():
    torch.manual_seed(0)
    head = losses.NormalizedSoftmax(num_classes=5, dim=4, scale=2.0)
    terms = Terms({"softmax": (1.0, head)})
    terms.mixed_share = 0.8
    embeddings, pairs = torch.randn(6, 4), torch.randint(5, (6, 2))
    one_hot = nn.functional.one_hot(pairs, 5).float()
    soft = 0.8 * one_hot[:, 0] + 0.2 * one_hot[:, 1]
    logits = losses.cosine(embeddings, head.proxies) * 2
    torch.testing.assert_close(terms(embeddings, pairs), nn.functional.cross_entropy(logits, soft))


def test_what_a_loss_follows_is_that_of_the_labels_that_weigh_more():
    torch.manual_seed(0)
    embeddings = torch.randn(6, 4)
    first, second = torch.tensor([0, 1, 2, 3, 4, 0]), torch.tensor([4, 0, 2, 1, 3, 3])
    for share, heavier in ((0.2, second), (0.9, first)):
        torch.manual_seed(1)
        alone, mixed = (losses.CurricularFace(num_classes=5, dim=4) for _ in range(2))
        mixed.load_state_dict(alone.state_dict())
        alone(embeddings, heavier)
        terms = Terms({"curricularface": (1.0, mixed)})
        terms.mixed_share = share
        terms(embeddings, torch.stack([first, second], dim=1))
        torch.testing.assert_close(dict(mixed.named_buffers()), dict(alone.named_buffers()))


def test_losses_that_compare_images_are_named():
    head = losses.CosFace(num_classes=5, dim=4)
    terms = Terms(
        {
            "cosface": (1.0, losses.SampledClasses(head, 0.5)),
            "lengths": (1.0, losses.Matryoshka({2: losses.ProxyNCA(5, 2), 4: losses.ProxyNCA(5, 4)})),
            "koleo": (1.0, losses.KoLeo()),
            "norm": (1.0, losses.EmbeddingNorm()),
            "gor": (1.0, losses.GOR()),
            "memory": (1.0, losses.CrossBatchMemory(losses.Triplet(), 8, 4)),
            "orthogonal": (1.0, losses.CenterOrthogonality()),
        }
    )
    refused = [name for name, term in terms.losses.items() if not takes_mixed(term)]
    assert refused == ["gor", "memory", "orthogonal"]
    assert not takes_mixed(nn.Identity())
