import numpy as np
import pytest
import torch
from looks import check_readable
from PIL import Image
from torch.nn import functional as F

from lookalike.data.transforms import Resize
from lookalike.plots.occlusion import blur_image, occlusion, window_starts
from lookalike.plots.saliency_maps import draw_saliency, saliency


class Corner:
    """Looks at the mean colour of the upper left quarter, and nowhere else."""

    device = torch.device("cpu")

    def __call__(self, images):
        half = images.shape[-1] // 2
        return F.normalize(images[..., :half, :half].float().mean((2, 3)) + 0.1, dim=1)

    def transform(self):
        return Resize(32)


def picture(seed=0, size=32):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (3, size, size), dtype=np.uint8))


def test_every_window_counts_in_the_pixels_it_covers():
    image, other, forward = picture(), Corner()(picture(1)[None])[0], Corner()
    found = occlusion(forward, image, other, window=0.3, steps=4, batch=5)
    whole, covered = float(forward(image[None])[0].double() @ other.double()), blur_image(image)
    total, times = np.zeros((32, 32)), np.zeros((32, 32))
    for top in window_starts(32, 10, 4):
        for left in window_starts(32, 10, 4):
            changed = image.clone()
            changed[:, top : top + 10, left : left + 10] = covered[:, top : top + 10, left : left + 10]
            loss = whole - float(forward(changed[None])[0].double() @ other.double())
            total[top : top + 10, left : left + 10] += loss
            times[top : top + 10, left : left + 10] += 1
    np.testing.assert_allclose(found, total / times, atol=1e-9)


def test_only_what_the_model_looks_at_matters():
    image = torch.zeros(3, 32, 32, dtype=torch.uint8)
    image[0, :12, :16], image[1, 12:16, :16], image[2, 20:, 20:] = 255, 255, 255
    other = torch.tensor([1.0, 0, 0])
    found = occlusion(Corner(), image, other, window=0.25, steps=8)
    assert found[:12, :12].max() > 0.001
    assert np.abs(found[24:, 24:]).max() < 1e-9


@pytest.mark.parametrize(("window", "steps"), [(0, 4), (1.2, 4), (0.5, 1)])
def test_windows_that_make_no_sense_are_refused(window, steps):
    with pytest.raises(ValueError, match="window"):
        occlusion(Corner(), picture(), torch.ones(3), window, steps)


def test_a_pair_becomes_four_pictures_that_can_be_read():
    photos = [
        ("a photo with a long name.jpg", Image.new("RGB", (50, 30), "red")),
        ("b.jpg", Image.new("L", (9, 9))),
    ]
    photos = [(name, image.convert("RGB")) for name, image in photos]
    figure = saliency(Corner(), photos, steps=3)
    assert len(figure.axes) == 5  # the fifth is the key
    assert "similarity of" in figure.texts[0].get_text()
    words = " ".join(text.get_text() for text in figure.texts)
    assert "lowers the similarity" in words.replace("\n", " ")
    check_readable(figure)
    with pytest.raises(ValueError, match="1 photos"):
        saliency(Corner(), photos[:1])


def test_equal_images_and_flat_maps_can_be_drawn():
    check_readable(draw_saliency(["a", "b"], [Image.new("RGB", (8, 8))] * 2, [np.zeros((8, 8))] * 2, 1.0))
