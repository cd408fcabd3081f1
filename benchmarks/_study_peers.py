"""The peers of the loss study: the same network in the plain loop of another library, for so many seconds.

They get the pretrained weights, input size, embedding dimension and optimizer of our defaults, decode every
image once, and follow a cosine schedule over the processor time that they may use.
"""

import math
import time
from collections.abc import Callable, Iterator

import torch
from PIL import Image
from pytorch_metric_learning import losses, miners, samplers
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from lookalike.cli._train_settings import make_model
from lookalike.cli.train import Config
from lookalike.config import load
from lookalike.data.table import Table, class_ids
from lookalike.model.embedder import EmbeddingModel

BATCH, PER_CLASS, WARM_UP = 96, 4, 0.05
HEAD, BACKBONE, PROXIES = 1e-3, 3e-4, 1e-2


class Photos(Dataset):
    """Images decoded once, changed at random, with class numbers."""

    def __init__(self, table: Table, size: int) -> None:
        names = class_ids(table.labels)
        self.labels = [names[label] for label in table.labels.tolist()]
        self.images = [Image.open(table.file(row)).convert("RGB") for row in range(len(table))]
        self.transform = v2.Compose(
            [
                v2.RandomResizedCrop(size, scale=(0.64, 1), antialias=True),
                v2.RandomHorizontalFlip(),
                v2.PILToTensor(),
            ]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        return self.transform(self.images[row]), self.labels[row]


class Softmax(nn.Module):
    """A linear classifier on the embedding, and cross-entropy."""

    def __init__(self, classes: int, dim: int) -> None:
        super().__init__()
        self.classifier = nn.Linear(dim, classes)

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        return nn.functional.cross_entropy(self.classifier(embeddings), labels)


class Mined(nn.Module):
    """A loss of pytorch-metric-learning with its miner."""

    def __init__(self, loss: nn.Module, miner: nn.Module) -> None:
        super().__init__()
        self.loss, self.miner = loss, miner

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        return self.loss(embeddings, labels, self.miner(embeddings, labels))


PEERS: dict[str, Callable[[int, int], nn.Module]] = {
    "pml multi-similarity": lambda classes, dim: Mined(
        losses.MultiSimilarityLoss(2, 50, 0.5), miners.MultiSimilarityMiner(0.1)
    ),
    "pml proxy-anchor": lambda classes, dim: losses.ProxyAnchorLoss(classes, dim),
    "pml triplet semi-hard": lambda classes, dim: Mined(
        losses.TripletMarginLoss(0.2), miners.TripletMarginMiner(0.2, "semihard")
    ),
    "softmax": Softmax,
}


def train_peer(name: str, table: Table, size: int, seconds: float, seed: int, rate: float) -> EmbeddingModel:
    """The model after so many seconds of processor time, from here on.

    Args:
        name: one of PEERS.
        table: the training images.
        size: side of the input.
        seconds: processor time for decoding and training.
        seed: of everything random.
        rate: factor on the learning rates of model and loss.
    """
    started = time.process_time()
    torch.manual_seed(seed)
    model = make_model(load("train", Config, dataset=str(table.folder), out="unused", image_size=size))
    photos = Photos(table, size)
    criterion = PEERS[name](len(set(photos.labels)), model.dim)
    groups = [
        {"params": list(model.backbone.parameters()), "lr": rate * BACKBONE},
        {"params": [*model.pool.parameters(), *model.head.parameters()], "lr": rate * HEAD},
        {"params": list(criterion.parameters()), "lr": rate * PROXIES},
    ]
    groups = [group for group in groups if group["params"]]
    optimizer = torch.optim.AdamW(groups, weight_decay=1e-4)
    initial = [group["lr"] for group in optimizer.param_groups]
    model.train()
    for images, labels in _batches(photos):
        done = (time.process_time() - started) / seconds
        if done >= 1:
            break
        factor = min(done / WARM_UP, 0.5 * (1 + math.cos(math.pi * done))) if done else 1 / 100
        for group, lr in zip(optimizer.param_groups, initial, strict=True):
            group["lr"] = lr * factor
        criterion(model.features(images), labels).backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.eval()


def _batches(photos: Photos) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless batches of up to 24 classes with 4 images, or as many as fit."""
    classes = len(set(photos.labels))
    per_class = PER_CLASS if classes * PER_CLASS >= BATCH else BATCH // classes
    size = min(BATCH, classes * per_class)
    sampler = samplers.MPerClassSampler(photos.labels, per_class, size, max(size, len(photos)))
    while True:
        yield from DataLoader(photos, size, sampler=sampler, drop_last=True)
