"""Images of a sample, and copies of them as they turn up in datasets."""

import io
import random

import numpy as np
from PIL import Image

FILTERS = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)


def alter(image, seed):
    """A copy: cropped by up to 2 % a side, resized 0.5 to 2 times, brightness ± 10 %, encoded again."""
    rng = random.Random(seed)
    width, height = image.size
    left, top, right, bottom = (rng.uniform(0, 0.02) for _ in range(4))
    image = image.crop(
        (
            round(left * width),
            round(top * height),
            round(width - right * width),
            round(height - bottom * height),
        )
    )
    scale = 2 ** rng.uniform(-1, 1)
    size = max(8, round(image.width * scale)), max(8, round(image.height * scale))
    image = image.resize(size, rng.choice(FILTERS))
    image = Image.fromarray(
        np.clip(np.asarray(image, float) * rng.uniform(0.9, 1.1), 0, 255).astype(np.uint8)
    )
    buffer = io.BytesIO()
    image.save(buffer, rng.choice(["JPEG", "WEBP"]), quality=rng.randint(60, 95))
    return Image.open(buffer).convert("RGB")


def scene(seed, size=(160, 120)):
    """A picture with as much detail as a photo: coloured blobs of many sizes."""
    generator = np.random.default_rng(seed)
    pixels = np.zeros((size[1], size[0], 3))
    for cells in (3, 6, 12, 40):
        coarse = Image.fromarray(generator.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        pixels += np.asarray(coarse.resize(size, Image.Resampling.BICUBIC), float)
    return Image.fromarray((pixels / 4).astype(np.uint8))
