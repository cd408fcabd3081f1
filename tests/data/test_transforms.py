import numpy as np
import pytest
import torch
from PIL import Image

from lookalike.data.transforms import Resize, stack_images, to_tensor


def picture(width, height):
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))


@pytest.mark.parametrize("how", ["squash", "crop", "letterbox"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("size", [(1, 1), (31, 50), (50, 31), (24, 24), (500, 2)])
def test_the_result_is_square_uint8(how, interpolation, size):
    tensor = Resize(24, how, interpolation)(picture(*size))
    assert tensor.shape == (3, 24, 24)
    assert tensor.dtype == torch.uint8


@pytest.mark.parametrize("channels_last", [True, False])
def test_a_batch_keeps_the_layout_of_its_pictures(channels_last):
    pictures = [to_tensor(picture(7, 5)), to_tensor(picture(7, 5)) ^ 255]
    if not channels_last:
        pictures = [pixels.contiguous() for pixels in pictures]
    batch = stack_images(pictures)
    assert torch.equal(batch, torch.stack(pictures))
    assert batch.is_contiguous(memory_format=torch.channels_last) == channels_last
    assert batch.is_contiguous() != channels_last


@pytest.mark.parametrize("how", ["squash", "crop", "letterbox"])
def test_a_picture_of_the_right_size_stays_as_it_is(how):
    image = picture(24, 24)
    assert (Resize(24, how)(image).permute(1, 2, 0).numpy() == np.asarray(image)).all()


def test_squash_is_a_plain_resize():
    image = picture(40, 30)
    expected = np.asarray(image.resize((24, 24), Image.Resampling.BILINEAR))
    assert (Resize(24, "squash", "bilinear")(image).permute(1, 2, 0).numpy() == expected).all()


def test_crop_keeps_the_middle():
    image = Image.new("RGB", (40, 20), "red")
    image.paste("blue", (10, 0, 30, 20))
    assert (Resize(20, "crop")(image) == torch.tensor([0, 0, 255])[:, None, None]).all()
    image = image.rotate(90, expand=True)
    assert (Resize(20, "crop")(image) == torch.tensor([0, 0, 255])[:, None, None]).all()


def test_letterbox_keeps_all_of_it_between_grey_bars():
    tensor = Resize(20, "letterbox")(Image.new("RGB", (80, 40), "red"))
    assert (tensor[:, 5:15] == torch.tensor([255, 0, 0])[:, None, None]).all()
    assert (tensor[:, :5] == 127).all()
    assert (tensor[:, 15:] == 127).all()


def test_shrinking_is_antialiased():
    stripes = np.zeros((96, 96, 3), np.uint8)
    stripes[:, ::2] = 255
    assert abs(Resize(12)(Image.fromarray(stripes)).int() - 128).max() < 8


def test_it_travels_as_a_plain_dict():
    resize = Resize(64, "letterbox", "bilinear")
    assert resize.to_dict() == {"size": 64, "how": "letterbox", "interpolation": "bilinear"}
    assert Resize.from_dict(resize.to_dict()) == resize


@pytest.mark.parametrize(
    "values", [{"size": 64}, {"size": 64, "how": "crop", "interpolation": "bicubic", "mean": 0}]
)
def test_a_missing_or_unknown_key_is_named(values):
    with pytest.raises(ValueError, match=r"missing or unknown: (how, interpolation|mean)"):
        Resize.from_dict(values)


def test_wrong_arguments_are_refused_with_the_choices():
    with pytest.raises(ValueError, match="how 'sqaush': choose one of squash, crop, letterbox"):
        Resize(24, "sqaush")
    with pytest.raises(ValueError, match="interpolation 'cubic': choose one of bicubic, bilinear"):
        Resize(24, interpolation="cubic")
    with pytest.raises(ValueError, match="size 0"):
        Resize(0)


def test_to_tensor_does_not_share_memory_with_the_picture():
    image = picture(4, 4)
    before = np.asarray(image).copy()
    to_tensor(image).zero_()
    assert (np.asarray(image) == before).all()
