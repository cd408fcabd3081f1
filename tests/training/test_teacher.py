"""A teacher sees what its student sees, in its own size and with its own normalisation."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lookalike.data.transforms import Resize
from lookalike.errors import ConfigError
from lookalike.model import backbones, embedder, heads
from lookalike.model.embedder import EmbeddingModel
from lookalike.model.pooling import Native
from lookalike.training.processes import make_accelerator
from lookalike.training.teacher import Teacher, read_teacher, resize_images


def model(size: int = 28, dim: int = 6, how: str = "squash") -> EmbeddingModel:
    torch.manual_seed(2)
    backbone = backbones.small_cnn([4, 8])
    backbone.mean, backbone.std = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)  # a wrong normalisation would show
    return embedder.build(backbone, Native(), heads.Linear, dim, Resize(size, how, "bilinear"))


def teacher(size: int = 28, amp: str = "no", chunk: int | None = None) -> Teacher:
    return Teacher(model(size), make_accelerator(amp, torch.device("cpu")), chunk)


def pictures(size: int, count: int = 5) -> torch.Tensor:
    """Smooth pictures, as photos are: noise of a few pixels, enlarged."""
    noise = np.random.default_rng(0).integers(0, 256, (count, 6, 6, 3), dtype=np.uint8)
    large = [np.array(Image.fromarray(each).resize((size, size), Image.Resampling.BICUBIC)) for each in noise]
    return torch.from_numpy(np.stack(large)).permute(0, 3, 1, 2)


def test_images_of_its_size_give_what_it_gives_in_evaluation():
    images = pictures(28)
    expected = model().eval().embed([each.permute(1, 2, 0).numpy() for each in images])
    found = teacher()(images)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)
    np.testing.assert_allclose(teacher()(images.float() / 255).numpy(), expected, atol=1e-6)
    np.testing.assert_allclose(teacher(chunk=2)(images).numpy(), expected, atol=1e-6)
    assert not found.requires_grad and not found.is_inference()


@pytest.mark.parametrize(("mine", "own"), [(40, 28), (20, 28)])
def test_images_of_another_size_are_resized_as_in_its_evaluation(mine, own):
    images = pictures(mine)
    expected = model(own).eval().embed([each.permute(1, 2, 0).numpy() for each in images])
    cosines = (teacher(own)(images).numpy() * expected).sum(axis=1)
    assert cosines.min() > 0.9995


def test_bicubic_enlargement_stays_within_the_range_of_pixels():
    images = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    images[..., 4:] = 255
    found = resize_images(images, Resize(20, "squash", "bicubic"))
    assert found.shape == (1, 3, 20, 20) and found.min() == 0 and found.max() == 1


def test_it_learns_nothing_and_stays_in_eval_mode():
    one = model().train()
    before = {name: value.clone() for name, value in one.state_dict().items()}
    taught = Teacher(one, make_accelerator("no", torch.device("cpu")))
    taught(pictures(28))
    assert not one.training and not any(p.requires_grad for p in one.parameters())
    assert all(value.equal(before[name]) for name, value in one.state_dict().items())
    assert (taught.dim, taught.space) == (6, one.space)


def test_half_precision_is_that_of_training():
    full, half = teacher()(pictures(28)), teacher(amp="bf16")(pictures(28))
    assert half.dtype == torch.float32 and not half.equal(full)
    assert (half * full).sum(dim=1).min() > 0.999


STUDENT = Resize(28, "squash", "bilinear")


def test_a_run_folder_or_a_model_folder_will_do(tmp_path):
    model().save(tmp_path / "run" / "model")
    for folder in (tmp_path / "run", tmp_path / "run" / "model"):
        assert read_teacher(folder, tmp_path / "student", STUDENT).space == model().space


def break_folder(folder: Path, what: str) -> None:
    model().save(folder)
    config = folder / "config.json"
    if what == "weights":
        (folder / "model.safetensors").write_bytes(b"no weights")
    elif what == "cut short":
        weights = folder / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-10])
    elif what == "not JSON":
        config.write_text("{")
    elif what == "NaN":
        one = model()
        torch.nn.init.constant_(one.head.layer.weight, float("nan"))
        one.save(folder)
    else:
        values = json.loads(config.read_text())
        values["preprocess" if what == "preprocess" else "backbone"] = {"kind": "small_cnn"}
        config.write_text(json.dumps(values))


@pytest.mark.parametrize("what", ["weights", "cut short", "not JSON", "NaN", "preprocess", "backbone"])
def test_a_folder_that_cannot_be_read_is_named(what, tmp_path):
    break_folder(tmp_path / "bad", what)
    with pytest.raises(ConfigError, match=r"teacher=.*bad"):
        read_teacher(tmp_path / "bad", tmp_path / "student", STUDENT)


def test_no_folder_and_its_own_run_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"teacher=.*nowhere cannot be used: .*not a model folder"):
        read_teacher(tmp_path / "nowhere", tmp_path / "student", STUDENT)
    model().save(tmp_path / "run" / "model")
    for folder in ("run", "run/model", "run/../run"):
        with pytest.raises(ConfigError, match="lies in the run that it is to teach"):
            read_teacher(tmp_path / folder, tmp_path / "run", STUDENT)


def test_what_it_sees_less_of_than_in_its_training_is_said(tmp_path, caplog):
    model(64, how="letterbox").save(tmp_path / "model")
    with caplog.at_level(logging.WARNING):
        read_teacher(tmp_path / "model", tmp_path / "student", STUDENT)
    assert "of 64 px and sees the student's of 28 enlarged" in caplog.text
    assert "trained with resize=letterbox and sees squash" in caplog.text
    caplog.clear()
    model(20).save(tmp_path / "small")
    read_teacher(tmp_path / "small", tmp_path / "student", STUDENT)
    assert not caplog.text
