"""A training loop in plain PyTorch, with Lookalike's batches, loss and evaluation.

python examples/custom_loop.py [--photos FOLDER] [--classes N] [--epochs N] [--size PIXELS]

The folder has one subfolder of images per class. The network is trained on the first half of the classes and
evaluated on the other half. Replace the network, the dataset or the loss by your own: all that connects them
is `loss(embeddings, labels)`, and vectors with labels.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms.v2.functional import pil_to_tensor, resize

import lookalike
from lookalike import losses, miners, samplers
from lookalike.data.decode import open_image

EMOJI = Path(lookalike.__file__).parent / "sample" / "emoji"


class ImageFolder(Dataset[tuple[Tensor, int]]):
    """The images of some class folders as (image, label), small enough to keep in memory."""

    def __init__(self, folders: list[Path], size: int):
        files = [(file, label) for label, folder in enumerate(folders) for file in sorted(folder.iterdir())]
        self.labels = torch.tensor([label for _, label in files])
        self.images = [resize(pil_to_tensor(open_image(file)), [size, size]) for file, _ in files]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.images[index].float() / 255, int(self.labels[index])


def make_network(dim: int) -> nn.Module:
    """Any module that maps images [B, 3, H, W] to vectors [B, dim]."""
    layers: list[nn.Module] = []
    for inputs, outputs in ((3, 32), (32, 64), (64, 128), (128, 256)):
        layers += [nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(256, dim))


@torch.inference_mode()
def embed(network: nn.Module, dataset: ImageFolder) -> Tensor:
    """The vectors [N, dim] of a dataset, in its order."""
    network.eval()
    return torch.cat([network(images) for images, _ in DataLoader(dataset, batch_size=64)])


def train(network: nn.Module, dataset: ImageFolder, epochs: int) -> None:
    """Train in place with P×K batches and the multi-similarity loss."""
    batches = samplers.PerClass(dataset.labels.tolist(), classes_per_batch=12, samples_per_class=4)
    loader = DataLoader(dataset, batch_sampler=batches)
    loss_function = losses.MultiSimilarity(miner=miners.multi_similarity)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    for epoch in range(epochs):
        batches.set_epoch(epoch)
        network.train()
        total = 0.0
        for images, labels in loader:
            loss = loss_function(network(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        print(f"epoch {epoch + 1}: loss {total / len(loader):.3f}")


def main() -> None:
    """Train on one half of the classes and evaluate on the other, before and after."""
    parser = argparse.ArgumentParser(description="Train a network of your own on a folder of class folders")
    parser.add_argument("--photos", type=Path, default=EMOJI)
    parser.add_argument(
        "--classes", type=int, default=120, help="number of classes to use, both halves together"
    )
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--size", type=int, default=48, help="side of the images in pixels")
    args = parser.parse_args()

    torch.manual_seed(0)
    folders = sorted(folder for folder in args.photos.iterdir() if folder.is_dir())[: args.classes]
    half = len(folders) // 2
    seen, unseen = ImageFolder(folders[:half], args.size), ImageFolder(folders[half:], args.size)
    network = make_network(dim=64)
    before = lookalike.evaluate(embed(network, unseen), unseen.labels)
    train(network, seen, args.epochs)
    after = lookalike.evaluate(embed(network, unseen), unseen.labels)
    for name in ("recall@1", "map@r"):
        old, new = before[name], after[name]
        print(
            f"{name} on {len(folders) - half} unseen classes: {float(old):.3f} before, "
            f"{float(new):.3f} after training, 95 % interval {new.low:.3f} to {new.high:.3f}"
        )


if __name__ == "__main__":
    main()
