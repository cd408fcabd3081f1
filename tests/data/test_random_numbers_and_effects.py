import numpy as np
import pytest
import torch
from scipy import ndimage

from lookalike.data.effects import (
    add_grain,
    add_noise,
    equalise_contrast,
    gaussian_blur,
    motion_blur,
    sharpen_image,
)
from lookalike.data.random_numbers import generator, random_uniform


def test_numbers_depend_on_seed_epoch_row_and_repeat_alone():
    found = random_uniform(3, 1, [5, 9, 5], [0, 0, 1], 7)
    assert found.shape == (3, 7)
    assert (random_uniform(3, 1, [9], [0], 7)[0] == found[1]).all()
    assert (random_uniform(3, 1, [1, 5, 9], [0, 1, 0], 20)[1, :7] == found[2]).all()
    others = [random_uniform(4, 1, [5], [0], 7), random_uniform(3, 2, [5], [0], 7), found[1:2], found[2:3]]
    assert all((abs(other - found[0]) > 1e-9).all() for other in others)


def test_numbers_are_even_and_know_nothing_of_each_other():
    found = random_uniform(0, 1, range(20_000), [0] * 20_000, 4)
    assert found.min() >= 0
    assert found.max() < 1
    assert np.quantile(found, [0.01, 0.25, 0.5, 0.75, 0.99]) == pytest.approx(
        [0.01, 0.25, 0.5, 0.75, 0.99], abs=0.01
    )
    assert abs(np.corrcoef(found.T) - np.eye(4)).max() < 0.03
    assert abs(np.corrcoef(found[:-1, 0], found[1:, 0])[0, 1]) < 0.03
    epochs = random_uniform(0, 2, range(20_000), [0] * 20_000, 1)
    assert abs(np.corrcoef(found[:, 0], epochs[:, 0])[0, 1]) < 0.03


def test_one_number_gives_many():
    assert generator(0.3).random() == generator(0.3).random() != generator(0.3000001).random()


def noise(side=40, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).uniform(0, 255, (3, side, side)).astype(np.float32))


def spot(side=15):
    pixels = torch.zeros(3, side, side)
    pixels[:, side // 2, side // 2] = 255
    return pixels


def test_blur_is_a_weighted_mean_that_keeps_the_light():
    light = gaussian_blur(spot(), 1)
    assert light.sum(dim=(1, 2)).tolist() == pytest.approx([255] * 3, rel=1e-5)
    assert (light[0] > 0).sum() == 9
    assert (gaussian_blur(spot(), 2)[0] > 0).sum() == 25
    kernel = light[0, 6:9, 6:9].numpy() / 255
    expected = np.stack([ndimage.correlate(channel, kernel, mode="nearest") for channel in noise().numpy()])
    assert abs(gaussian_blur(noise(), 1).numpy() - expected).max() < 1e-2


@pytest.mark.parametrize(("angle", "axis"), [(0, 1), (np.pi / 2, 0)])
def test_motion_blur_smears_along_its_angle(angle, axis):
    places = np.argwhere(motion_blur(spot(), 2, angle)[0].numpy() > 1)
    assert len(places) == 5
    assert len(set(places[:, 1 - axis])) == 1


def test_sharpening_and_blur_are_opposites():
    pixels = noise()
    assert gaussian_blur(pixels, 1).std() < pixels.std() < sharpen_image(pixels, 1.0).std()
    flat = torch.full((3, 9, 9), 80.0)
    for effect in (
        lambda p: gaussian_blur(p, 2),
        lambda p: motion_blur(p, 2, 0.7),
        lambda p: sharpen_image(p, 1.0),
    ):
        assert torch.allclose(effect(flat), flat, atol=1e-3)


def test_noise_has_the_deviation_asked_for_and_grain_grows_with_light():
    dark, bright = torch.full((3, 100, 100), 20.0), torch.full((3, 100, 100), 220.0)
    assert (add_noise(dark, 8.0, generator(0.1)) - dark).std().item() == pytest.approx(8, rel=0.03)
    grain = [(add_grain(pixels, 0.05, generator(0.1)) - pixels).std().item() for pixels in (dark, bright)]
    assert grain[1] / grain[0] == pytest.approx((220 / 20) ** 0.5, rel=0.01)
    together = add_grain(bright, 0.05, generator(0.1))
    assert np.corrcoef(together.reshape(3, -1).numpy())[0, 1] > 0.8


def test_equalising_raises_faint_contrast_everywhere_and_keeps_colours():
    x = torch.linspace(0, 1, 64)
    faint = (100 + 10 * torch.sin(20 * x)[None, :] + 5 * x[:, None]).expand(3, 64, 64).clone()
    faint[0] += 30
    found = equalise_contrast(faint)
    assert found[1].std() > 1.5 * faint[1].std()
    assert torch.allclose(found[0] - found[1], faint[0] - faint[1], atol=1e-3)
    assert faint[1].std() < equalise_contrast(faint, limit=1.5)[1].std() < found[1].std()
    for side in (1, 3, 9):
        assert equalise_contrast(noise(side)).shape == (3, side, side)


def test_equalising_one_tile_without_limit_is_the_equalised_histogram():
    pixels = noise(64).round()
    grey = pixels[:1].expand(3, 64, 64).contiguous()
    found = equalise_contrast(grey, limit=1e9, tiles=1)[0].numpy()
    values, counts = np.unique(grey[0].numpy(), return_counts=True)
    shares = dict(zip(values, np.cumsum(counts) / counts.sum() * 255, strict=True))
    expected = np.vectorize(shares.get)(grey[0].numpy())
    assert abs(found - expected).max() < 1e-2
