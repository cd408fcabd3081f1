import numpy as np
import pytest
import torch

from lookalike.data.transforms import Resize
from lookalike.model import backbones, embedder, heads
from lookalike.model.embedder import EmbeddingModel
from lookalike.model.normalise import normalise as normalised
from lookalike.model.normalise import standardise
from lookalike.model.pooling import Native

MEAN = torch.tensor([0.4, 0.5, 0.6]).view(1, 3, 1, 1)
STD = torch.tensor([0.2, 0.25, 0.5]).view(1, 3, 1, 1)


def pixels(count=5, height=7, width=6):
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (count, 3, height, width), np.uint8))


@pytest.mark.parametrize("chunk", [1, 300, 1 << 18])
def test_whole_numbers_and_shares_of_white_give_the_same(chunk):
    images = pixels()
    expected = (images.double() / 255 - MEAN) / STD
    for given in (images, images.contiguous(memory_format=torch.channels_last), images.float() / 255):
        found = normalised(given, MEAN, STD, chunk)
        assert found.dtype == torch.float32
        assert (found - expected).abs().max() < 1e-5
        assert found.stride() == given.stride()
    assert normalised(images[:0], MEAN, STD).shape == (0, 3, 7, 6)


def test_shares_of_white_keep_their_gradient():
    images = (pixels().float() / 255).requires_grad_()
    normalised(images, MEAN, STD).sum().backward()
    assert torch.allclose(images.grad, (1 / STD).expand_as(images))


def test_each_image_gets_mean_0_and_deviation_1():
    images = pixels()
    for given in (images, images.float() / 255):
        found = standardise(given)
        for one, image in zip(found, images, strict=True):
            values = image.numpy().astype(np.float64)
            assert one.numpy() == pytest.approx((values - values.mean()) / values.std(), abs=1e-4)
    brighter = standardise((images // 2) + 60)
    assert (brighter - standardise(images // 2)).abs().max() < 1e-4
    assert (standardise(torch.full((2, 3, 4, 4), 9, dtype=torch.uint8)) == 0).all()
    assert standardise(images[:0]).shape == (0, 3, 7, 6)


def model(kind):
    torch.manual_seed(0)
    backbone = backbones.small_cnn([4, 8])
    return embedder.build(backbone, Native(), heads.Linear, 6, Resize(16), kind).eval()


def test_it_is_saved_with_the_model_and_makes_another_space(tmp_path):
    plain, standard = model("backbone"), model("image")
    assert plain.space != standard.space
    images = pixels(height=16, width=16)
    standard.save(tmp_path)
    again = EmbeddingModel.load(tmp_path)
    assert again.normalise == "image"
    assert again.space == standard.space
    assert torch.equal(again(images), standard(images))
    assert torch.allclose(again(images // 2), again(images // 2 + 100), atol=1e-4)
    assert not torch.allclose(plain(images // 2), plain(images // 2 + 100), atol=1e-4)


def test_another_word_is_refused_with_the_choices():
    with pytest.raises(ValueError, match="normalise 'batch': choose one of backbone, image"):
        model("batch")
