from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from lookalike.data.augment import Augment, Strong
from lookalike.data.flip import Flip
from lookalike.data.images import ImageTable, collate
from lookalike.data.random_crop import RandomCrop
from lookalike.data.random_numbers import random_uniform
from lookalike.data.table import Table


def numbers(count, columns=5):
    return random_uniform(0, 1, range(count), [0] * count, columns)


def picture(width, height, seed=0):
    x, y = np.meshgrid(np.linspace(0, 200, width), np.linspace(0, 200, height))
    noise = np.random.default_rng(seed).integers(0, 50, (height, width, 3))
    return (np.stack([x, y, 200 - x], -1) + noise).astype(np.uint8)


@pytest.mark.parametrize("size", [(500, 375), (40, 300), (1, 1), (7, 9)])
def test_parts_lie_inside_and_are_as_large_as_they_should(size):
    crop = RandomCrop(32, area=(0.1, 0.6), aspect=(0.5, 2))
    parts = np.array([crop.transform_one(size, row)[0] for row in numbers(500)])
    assert (parts[:, :2] >= 0).all()
    assert (parts[:, 2:] <= size).all()
    assert (parts[:, 2:] > parts[:, :2]).all()
    if size == (500, 375):
        wide, high = (parts[:, 2:] - parts[:, :2]).T
        shares = wide * high / (500 * 375)
        assert shares.min() > 0.095
        assert shares.max() < 0.605
        assert np.median(shares) == pytest.approx(0.35, abs=0.04), "drawn evenly"
        assert np.median(np.log(wide / high)) == pytest.approx(0, abs=0.1), "as often wide as high"
        assert np.exp(abs(np.log(wide / high)).max()) < 2.05
        free = parts[:, 0] / (500 - wide)
        assert np.quantile(free, [0.1, 0.5, 0.9]) == pytest.approx([0.1, 0.5, 0.9], abs=0.06)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_the_result_is_the_part_made_square_by_pillow(interpolation):
    crop = RandomCrop(24, interpolation, flip=0.5)
    rows = numbers(12)
    image = Image.fromarray(picture(90, 70))
    filters = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
    mirrored = 0
    for row in rows:
        box, least = crop.transform_one(image.size, row)
        assert least == 24
        expected = np.asarray(image.crop(box).resize((24, 24), filters[interpolation])).astype(int)
        found = (
            crop.transform_many([np.array(image.crop(box))], row[None])[0]
            .permute(1, 2, 0)
            .numpy()
            .astype(int)
        )
        if row[4] < 0.5:
            expected, mirrored = expected[:, ::-1], mirrored + 1
        assert abs(found - expected).max() <= 2
    assert 0 < mirrored < 12


def test_called_alone_it_draws_from_torch():
    crop, image = RandomCrop(16), Image.fromarray(picture(60, 50))
    torch.manual_seed(3)
    first, second = crop(image), crop(image)
    torch.manual_seed(3)
    assert torch.equal(crop(image), first)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("wrong", [{"flip": 2}, {"area": (0, 1)}, {"aspect": (2, 1)}, {"size": 0}])
def test_values_out_of_range_are_refused_by_name(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        RandomCrop(**{"size": 8, **wrong})


EVERYTHING = Strong(
    20, turn=0.5, equalise=0.4, blur=0.4, motion=0.4, sharpen=0.4, noise=0.4, grain=0.4, erase=0.5
)


@pytest.mark.parametrize(
    "transform",
    [
        Augment(28, brightness=0.2),
        replace(EVERYTHING, how="crop"),
        replace(EVERYTHING, how="letterbox"),
        Flip(20),
        RandomCrop(20),
        Augment(20, scale=(1, 1), aspect=0, rotate=0, shift=0),
    ],
)
@pytest.mark.parametrize("sizes", [[(28, 28)], [(60, 40), (33, 50), (200, 190)]])
def test_what_becomes_of_a_picture_does_not_depend_on_its_batch(transform, sizes):
    pictures = [picture(*sizes[n % len(sizes)], seed=n) for n in range(9)]
    rows = numbers(9, transform.count)
    together = transform.transform_many(pictures, rows)
    assert together.dtype == torch.uint8
    if isinstance(transform, Flip | RandomCrop):
        assert together.is_contiguous(memory_format=torch.channels_last), "no copy on the way to the model"
    for n in range(9):
        alone = transform.transform_many(pictures[n : n + 1], rows[n : n + 1])
        assert torch.equal(alone[0], together[n])
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    again = transform.transform_many(pictures, rows)
    torch.set_num_threads(threads)
    assert torch.equal(again, together)
    assert len({str(pixels) for pixels in together.tolist()}) == 9


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for number in range(6):
        Image.fromarray(picture(300, 220, number)).save(folder / f"{number}.jpg", quality=90)
    Image.fromarray(picture(30, 20)).save(folder / "6.png")
    (folder / "7.jpg").write_bytes((folder / "1.jpg").read_bytes()[:900])
    names = [f"{number}.jpg" for number in range(6)] + ["6.png", "7.jpg"]
    frame = pl.DataFrame({"path": names, "label": list("aabbccdd"), "split": "train"})
    boxes = {"x1": 20, "y1": 10, "x2": 280, "y2": 200}
    boxed = [pl.when(pl.col("label") == "b").then(pl.lit(value)).alias(name) for name, value in boxes.items()]
    return Table(frame.with_columns(boxed), folder)


def read(images, workers, batches):
    loader = DataLoader(images, batch_sampler=batches, collate_fn=collate, num_workers=workers)
    found, skipped = {}, []
    for batch in loader:
        found |= dict(zip(batch.rows.tolist(), batch.images.tolist(), strict=True))
        skipped += [problem.row for problem in batch.skipped]
    return found, skipped


@pytest.mark.parametrize("transform", [RandomCrop(24, area=(0.3, 1)), Augment(24)])
@pytest.mark.parametrize("memory", [0, 8 * 3 * 100 * 100, 1 << 28])
def test_the_same_pixels_whatever_workers_order_and_memory(photos, transform, memory):
    images = ImageTable(photos, transform, seed=5, memory=memory)
    for epoch in (1, 2):
        images.set_epoch(epoch)
        expected = read(images, 0, [[0, 1, 2, 3], [4, 5, 6, 7]])
        assert expected[1] == [7]
        assert read(images, 2, [[7, 5], [6, 0, 1], [2, 4, 3]]) == expected
        fresh = ImageTable(photos, transform, seed=5, memory=memory)
        fresh.set_epoch(epoch)
        assert read(fresh, 2, [[3, 2], [1, 0, 7], [6, 5, 4]]) == expected
