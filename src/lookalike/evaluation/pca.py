"""PCA and whitening of vectors, learned on other vectors than those they are tried on."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from lookalike.errors import LookalikeError
from lookalike.files import parse_json, write_text

BLOCK = 8192


@dataclass(frozen=True, eq=False)
class Pca:
    """A projection: less the mean, onto the directions of greatest spread, perhaps evened out.

    Source: Pearson 1901; whitening of image descriptors: Jégou and Chum 2012.

    Attributes:
        mean: float64 [D].
        directions: orthonormal, the greatest spread first, float64 [dim, D].
        spread: standard deviation of what it was learned on along each direction, [dim].
        whiten: from 0, lengths stay, to 1, every direction is as wide as any other.
    """

    mean: np.ndarray
    directions: np.ndarray
    spread: np.ndarray
    whiten: float

    @classmethod
    def fit(cls, unit: np.ndarray, dim: int | None = None, whiten: float = 0.0) -> Self:
        """Learn it on vectors of length 1, [N, D].

        Args:
            unit: better many more than D of them, and not those it will be tried on.
            dim: how many directions to keep; None for all that the vectors fill.
            whiten: how far to even out, 0 to 1.

        Raises:
            ValueError: `dim` is more than the vectors fill, or `whiten` is out of range.
        """
        if not 0 <= whiten <= 1:
            raise ValueError(f"pca.whiten={whiten:g}: from 0 (not at all) to 1 (fully)")
        mean = unit.mean(axis=0, dtype=np.float64)
        scatter = np.zeros((unit.shape[1], unit.shape[1]))
        for start in range(0, len(unit), BLOCK):
            centred = unit[start : start + BLOCK] - mean
            scatter += centred.T @ centred
        values, vectors = np.linalg.eigh(scatter / max(1, len(unit)))
        values, vectors = values[::-1], vectors[:, ::-1]
        filled = int((values > values[0] * 1e-9).sum()) if values[0] > 0 else 0
        num_components = filled if dim is None else dim
        if not 1 <= num_components <= filled:
            raise ValueError(
                f"pca.dim={num_components}: the {len(unit)} vectors it is learned on fill {filled} "
                "dimensions of "
                f"{unit.shape[1]}; take at most as many, or learn on more vectors"
            )
        signs = np.sign(
            vectors[np.abs(vectors).argmax(axis=0), np.arange(vectors.shape[1])]
        )  # same on any machine
        return cls(
            mean, (vectors * signs).T[:num_components].copy(), np.sqrt(values[:num_components]), whiten
        )

    def __call__(self, unit: np.ndarray) -> np.ndarray:
        """The vectors projected, float32 [N, dim]; their length is not 1."""
        if unit.shape[1] != len(self.mean):
            raise ValueError(
                f"pca: learned on vectors of {len(self.mean)} numbers, these have {unit.shape[1]}"
            )
        scale = self.spread**-self.whiten
        projected = np.empty((len(unit), len(self.directions)), np.float32)
        for start in range(0, len(unit), BLOCK):
            part = slice(start, start + BLOCK)
            projected[part] = (unit[part] - self.mean) @ self.directions.T * scale
        return projected

    def save(self, folder: Path) -> None:
        """Write pca.json, and pca_mean.npy, pca_directions.npy, pca_spread.npy beside it."""
        for name in ("mean", "directions", "spread"):
            np.save(folder / f"pca_{name}.npy", getattr(self, name), allow_pickle=False)
        metadata = {"dim": len(self.directions), "of": len(self.mean), "whiten": self.whiten}
        write_text(folder / "pca.json", json.dumps(metadata, indent=2) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """What `save` wrote.

        Raises:
            LookalikeError: a file is missing or damaged.
        """
        try:
            metadata = parse_json((folder / "pca.json").read_text(encoding="utf-8"))
            mean, directions, spread = (
                np.load(folder / f"pca_{name}.npy", allow_pickle=False)
                for name in ("mean", "directions", "spread")
            )
            return cls(mean, directions, spread, float(metadata["whiten"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise LookalikeError(f"{folder}: holds no PCA that can be read: {error}") from error
