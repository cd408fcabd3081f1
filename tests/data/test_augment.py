from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from PIL import Image

from lookalike.data.augment import Augment, Strong
from lookalike.data.flip import Flip
from lookalike.data.transforms import Resize

STILL = Augment(
    32,
    flip=0,
    scale=(1, 1),
    aspect=0,
    rotate=0,
    shift=0,
    brightness=0,
    saturation=0,
    contrast=0,
    balance=0,
    grey=0,
    erase=0,
)


def picture(width=48, height=32):
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, 255 - x], -1).astype(np.uint8))


def dot(x, y, size=64):
    """A white dot on black, at a place given as shares of the side."""
    image = Image.new("RGB", (size, size))
    image.paste("white", (round(x * size) - 3, round(y * size) - 3, round(x * size) + 3, round(y * size) + 3))
    return image


def centre_of_light(tensor):
    """Where the light of a picture is, as shares of the side (x, y)."""
    light = tensor.float().mean(0)
    places = (torch.arange(light.shape[0]) + 0.5) / light.shape[0]
    return (light.sum(0) @ places / light.sum()).item(), (light.sum(1) @ places / light.sum()).item()


def many(transform, image, count=60):
    torch.manual_seed(1)
    return [transform(image) for _ in range(count)]


@pytest.mark.parametrize("how", ["squash", "crop", "letterbox"])
@pytest.mark.parametrize("size", [(1, 1), (9, 200), (48, 32), (300, 250), (1000, 1)])
@pytest.mark.parametrize("kind", [Augment, Strong, Flip])
def test_the_result_is_square_uint8(kind, how, size):
    for tensor in many(kind(24, how), picture(*size), 12):
        assert tensor.shape == (3, 24, 24)
        assert tensor.dtype == torch.uint8


@pytest.mark.parametrize("how", ["squash", "crop", "letterbox"])
def test_with_everything_off_it_is_resize(how):
    assert (replace(STILL, how=how)(picture()) == Resize(32, how)(picture())).all()


def test_flip_mirrors_half_of_the_pictures_and_nothing_else():
    plain = Resize(32)(picture())
    for transform in (replace(STILL, flip=0.5), Flip(32)):
        results = many(transform, picture(), 200)
        mirrored = sum(torch.equal(result, plain.flip(2)) for result in results)
        assert mirrored + sum(torch.equal(result, plain) for result in results) == 200
        assert 70 < mirrored < 130
    assert all(torch.equal(result, plain) for result in many(Flip(32, flip=0), picture()))


@pytest.mark.parametrize("how", ["squash", "crop", "letterbox"])
@pytest.mark.parametrize("size", [(48, 24), (320, 160)])
def test_moving_by_next_to_nothing_is_next_to_resize(how, size):
    image = picture(*size)
    moved = replace(STILL, how=how, shift=1e-6, interpolation="bilinear")(image)
    difference = abs(moved.int() - Resize(32, how, "bilinear")(image).int())
    assert difference.float().mean() < 4


def test_scale_is_the_size_of_what_is_shown():
    image = Image.new("RGB", (64, 64))
    image.paste("white", (16, 16, 48, 48))
    for scale in (0.5, 1.0001, 1.5):
        shown = replace(STILL, scale=(scale, scale))(image).float().mean() / 255
        assert shown == pytest.approx(0.25 * scale**2, rel=0.05)
    shares = [
        result.float().mean().item() / 255 for result in many(replace(STILL, scale=(0.5, 1.5)), image, 200)
    ]
    assert min(shares) == pytest.approx(0.25 * 0.5**2, rel=0.2)
    assert max(shares) == pytest.approx(0.25 * 1.5**2, rel=0.2)
    assert np.median(shares) == pytest.approx(0.25 * 0.75, rel=0.25), "as often half as double"


def test_shift_moves_by_a_share_of_the_side():
    places = np.array(
        [centre_of_light(result) for result in many(replace(STILL, shift=0.2), dot(0.5, 0.5), 200)]
    )
    assert abs(places - 0.5).max() < 0.21
    assert places.min(0) == pytest.approx([0.3, 0.3], abs=0.02)
    assert places.max(0) == pytest.approx([0.7, 0.7], abs=0.02)
    assert abs(np.corrcoef(places.T)[0, 1]) < 0.25


def test_rotation_keeps_the_distance_from_the_middle():
    places = (
        np.array([centre_of_light(result) for result in many(replace(STILL, rotate=30), dot(0.8, 0.5), 200)])
        - 0.5
    )
    angles = np.degrees(np.arctan2(places[:, 1], places[:, 0]))
    assert np.hypot(*places.T) == pytest.approx(0.3, abs=0.02)
    assert angles.min() == pytest.approx(-30, abs=2)
    assert angles.max() == pytest.approx(30, abs=2)


def test_aspect_stretches_one_side_and_squeezes_the_other():
    across = (
        np.array([centre_of_light(r)[0] for r in many(replace(STILL, aspect=0.2), dot(0.8, 0.5), 100)]) - 0.5
    )
    down = (
        np.array([centre_of_light(r)[1] for r in many(replace(STILL, aspect=0.2), dot(0.5, 0.8), 100)]) - 0.5
    )
    assert across * down == pytest.approx(0.09, abs=0.01)
    assert across.max() / across.min() == pytest.approx(np.exp(0.4), rel=0.1)


def test_beyond_the_border_the_border_repeats():
    image = Image.new("RGB", (40, 40), (10, 200, 90))
    everything = replace(STILL, scale=(0.3, 2), rotate=180, shift=1, aspect=0.5)
    for result in many(everything, image):
        assert (result == torch.tensor([10, 200, 90], dtype=torch.uint8)[:, None, None]).all()


def test_crop_brings_in_what_was_cut_off_and_letterbox_its_bars():
    image = Image.new("RGB", (80, 20), "red")
    image.paste("blue", (30, 0, 50, 20))
    smaller = replace(STILL, scale=(0.5, 0.5))
    assert (replace(smaller, how="crop")(image)[0, 16] == 255).any()
    assert replace(smaller, how="letterbox")(image)[:, 0, 16].tolist() == [127] * 3


def test_large_pictures_are_shrunk_without_aliasing():
    stripes = np.zeros((480, 480, 3), np.uint8)
    stripes[:, ::2] = 255
    for result in many(replace(STILL, rotate=20, scale=(0.8, 1.2)), Image.fromarray(stripes), 10):
        assert abs(result.int() - 128).max() < 20


def test_brightness_multiplies():
    grey = Image.new("RGB", (8, 8), (100, 100, 100))
    light = [result[0, 0, 0].item() / 100 for result in many(replace(STILL, brightness=0.5), grey, 200)]
    assert min(light) == pytest.approx(np.exp(-0.5), abs=0.05)
    assert max(light) == pytest.approx(np.exp(0.5), abs=0.05)


def test_grey_takes_the_colours_and_saturation_moves_them():
    for result in many(replace(STILL, grey=1), picture(), 3):
        assert torch.equal(result[0], result[1])
        assert torch.equal(result[0], result[2])
    red = Image.new("RGB", (8, 8), (150, 90, 60))
    spread = [
        (result[0, 0, 0].item() - result[2, 0, 0].item()) / 90
        for result in many(replace(STILL, saturation=0.4), red, 200)
    ]
    assert min(spread) == pytest.approx(0.6, abs=0.03)
    assert max(spread) == pytest.approx(1.4, abs=0.03)


def test_contrast_keeps_the_mean():
    image = Image.fromarray(np.random.default_rng(0).integers(90, 160, (32, 32, 3), np.uint8))
    plain = Resize(32)(image).float()
    results = [result.float() for result in many(replace(STILL, contrast=0.5), image, 300)]
    assert all(abs(result.mean() - plain.mean()) < 1 for result in results)
    spread = [(result.std() / plain.std()).item() for result in results]
    assert min(spread) == pytest.approx(0.5, abs=0.05)
    assert max(spread) == pytest.approx(1.5, abs=0.05)


def test_balance_warms_and_cools():
    grey = Image.new("RGB", (8, 8), (100, 100, 100))
    for red, green, blue in (result[:, 0, 0].tolist() for result in many(replace(STILL, balance=0.2), grey)):
        assert green == 100
        assert abs((red - 100) + (blue - 100)) <= 1
        assert 80 <= red <= 120


def test_erasing_covers_one_square_with_one_colour():
    black = Image.new("RGB", (50, 50))
    results = many(replace(STILL, size=50, erase=0.5, erase_side=(0.2, 0.4)), black, 300)
    covered = [result for result in results if result.any()]
    assert 110 < len(covered) < 190
    for result in covered:
        rows, columns = torch.nonzero(result.any(0).any(1)), torch.nonzero(result.any(0).any(0))
        assert len(rows) == len(columns)
        assert 10 <= len(rows) <= 20
        inside = result[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert (inside == inside[:, :1, :1]).all()


def test_the_same_seed_gives_the_same_pixels_and_the_next_call_others():
    augment = Augment(32)
    first, second = many(augment, picture(), 2)
    assert torch.equal(first, many(augment, picture(), 1)[0])
    assert not torch.equal(first, second)


def test_the_picture_itself_is_not_changed():
    image = picture(32, 32)
    before = np.asarray(image).copy()
    many(replace(STILL, erase=1), image, 3)
    many(Augment(32), image, 3)
    assert (np.asarray(image) == before).all()


@pytest.mark.parametrize(
    "wrong",
    [
        {"flip": 1.5},
        {"scale": (1.2, 0.8)},
        {"scale": (0, 1)},
        {"rotate": -3},
        {"erase_side": (0.5,)},
        {"grey": -1},
        {"contrast": 2},
    ],
)
def test_values_out_of_range_are_refused_by_name(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Augment(32, **wrong)


def test_strong_is_nowhere_weaker():
    standard, strong = Augment(32), Strong(32)
    for field in fields(Augment):
        one, other = getattr(standard, field.name), getattr(strong, field.name)
        if isinstance(one, float):
            assert other >= one
        if field.name == "scale":
            assert other[0] <= one[0]
            assert other[1] >= one[1]
