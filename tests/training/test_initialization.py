"""The head starts centred and better conditioned, and anything else is left alone."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

import lookalike
from lookalike.data.images import open_image
from lookalike.data.table import Table
from lookalike.data.transforms import Resize
from lookalike.losses import ArcFace, Terms, Triplet
from lookalike.model.backbones import small_cnn
from lookalike.model.embedder import build
from lookalike.model.heads import BatchNorm, Linear
from lookalike.model.pooling import Native
from lookalike.training.initialization import POWER, start_proxies, start_similarity, whiten_head


@pytest.fixture
def table(shapes_folder: Path) -> Table:
    files = sorted(shapes_folder.glob("*/*.png"))
    frame = pl.DataFrame({"path": [f.name for f in files], "label": [f.parent.name for f in files]})
    frame = frame.with_columns(path=pl.Series([str(f) for f in files]), split=pl.lit("train"))
    return Table(frame, shapes_folder)


def embeddings(model: lookalike.EmbeddingModel, table: Table) -> np.ndarray:
    images = [model.transform()(open_image(table.file(row))) for row in range(len(table))]
    with torch.inference_mode():
        return model.features(torch.stack(images)).double().numpy()


def test_the_start_is_a_half_whitened_pca(table):
    model = build(small_cnn([4, 8]), Native(), Linear, 6, Resize(28)).eval()
    before = model.head.layer.weight.pow(2).mean()
    whiten_head(model, table, seed=0)
    found = embeddings(model, table)
    covariance = np.cov(found.T)
    assert np.abs(found.mean(0)).max() < 1e-3 * np.abs(found).max()
    assert np.abs(covariance - np.diag(np.diag(covariance))).max() < 1e-3 * covariance.max()
    images = [model.transform()(open_image(table.file(r))) for r in range(len(table))]
    with torch.inference_mode():
        pooled = model.pool_features(torch.stack(images)).double()
    variance = torch.linalg.eigvalsh(torch.cov(pooled.T)).flip(0)[:6].numpy()
    expected = variance ** (1 - 2 * POWER)
    np.testing.assert_allclose(np.diag(covariance) / covariance[0, 0], expected / expected[0], rtol=1e-2)
    torch.testing.assert_close(model.head.layer.weight.pow(2).mean(), before)


def test_pairs_start_at_a_similarity_at_which_negatives_push(table):
    model = build(small_cnn([4, 8]), Native(), Linear, 6, Resize(28)).eval()
    whiten_head(model, table, seed=0, similarity=0.5)
    vectors = embeddings(model, table)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    different = ~np.eye(len(unit), dtype=bool)
    assert 0.4 < (unit @ unit.T)[different].mean() < 0.7
    assert start_similarity(Triplet()) == 0.5
    assert start_similarity(Terms({"a": (1.0, ArcFace(4, 6)), "b": (1.0, Triplet())})) == 0.0


def test_fewer_images_than_numbers_still_give_finite_weights(table):
    model = build(small_cnn([4, 8]), Native(), Linear, 64, Resize(28)).train()
    whiten_head(model, table.take([0, 1, 2]), seed=0)
    assert torch.isfinite(model.head.layer.weight).all()
    assert model.training


def test_other_heads_are_left_alone(table):
    model = build(small_cnn([4, 8]), Native(), BatchNorm, 6, Resize(28))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    whiten_head(model, table, seed=0)
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())


def test_proxies_start_at_the_means_of_their_classes(table):
    model = build(small_cnn([4, 8]), Native(), Linear, 6, Resize(28)).eval()
    labels = table.labels
    classes = {label: number for number, label in enumerate(sorted(set(labels.tolist())))}
    loss = Terms({"a": (1.0, ArcFace(len(classes), 6)), "b": (1.0, Triplet())})
    lengths = loss.losses["a"].proxies.norm(dim=1)
    start_proxies(loss, model, table, seed=0)
    found = loss.losses["a"].proxies.detach()
    torch.testing.assert_close(found.norm(dim=1), lengths)
    vectors = torch.nn.functional.normalize(torch.from_numpy(embeddings(model, table)))
    for label, number in classes.items():
        own = vectors[torch.from_numpy(labels == label)]
        cosines = torch.nn.functional.cosine_similarity(found[number].double()[None], own.mean(0)[None])
        assert cosines > 0.97  # of four images of the class


def test_classes_without_a_readable_image_keep_their_random_proxy(table, tmp_path):
    frame = table.frame.with_columns(
        path=pl.when(pl.col("label") == table.labels[0]).then(pl.lit("nowhere.png")).otherwise("path")
    )
    model = build(small_cnn([4, 8]), Native(), Linear, 6, Resize(28)).eval()
    loss = ArcFace(len(set(table.labels.tolist())), 6)
    before = loss.proxies.detach().clone()
    start_proxies(loss, model, Table(frame, table.folder), seed=0)
    moved = (loss.proxies != before).any(dim=1)
    number = sorted(set(table.labels.tolist())).index(table.labels[0])
    assert not moved[number] and moved.sum() == len(moved) - 1
