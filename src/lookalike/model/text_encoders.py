"""Text encoders: from texts to raw vectors, learned from a dataset, or by an object of the user's own."""

import re
import unicodedata
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lookalike.errors import ConfigError

OWN_ENCODER = "encoder"
Spec = dict[str, Any]
Encoder = Callable[[list[str]], Any]
"""Texts to vectors [N, F], as an array or tensor."""


class TextEncoder(nn.Module):
    """What every text encoder offers: texts to raw vectors.

    Attributes:
        spec: plain values that rebuild it without weights.
        dim: length of its vectors.
    """

    spec: Spec
    dim: int

    def forward(self, texts: Sequence[str]) -> Tensor:
        """Texts to raw vectors [N, dim]."""
        raise NotImplementedError


class NGram(TextEncoder):
    """The mean of learned vectors of character n-grams and whole words (Bojanowski et al., 2017, fastText).

    N-grams share rows of a table by their hash, so words that training never saw are composed of known parts.

    Args:
        shortest: of the n-grams, in characters; a word is enclosed in < and >.
        longest: of the n-grams.
        buckets: rows of the table.
        dim: length of the vectors.
    """

    def __init__(self, shortest: int = 3, longest: int = 5, buckets: int = 50_000, dim: int = 256):
        super().__init__()
        if not 1 <= shortest <= longest or min(buckets, dim) < 1:
            raise ValueError(
                f"ngram: shortest={shortest}, longest={longest}, buckets={buckets}, dim={dim}: all must be "
                "at least 1, and longest at least shortest"
            )
        sizes = {"shortest": shortest, "longest": longest, "buckets": buckets, "dim": dim}
        self.spec = {"kind": "ngram", **sizes}
        self.shortest, self.longest, self.buckets, self.dim = shortest, longest, buckets, dim
        self.table = nn.EmbeddingBag(buckets, dim, mode="mean")
        nn.init.normal_(self.table.weight, std=0.01)  # little noise from parts that training never saw

    def forward(self, texts: Sequence[str]) -> Tensor:
        """See `TextEncoder.forward`."""
        rows = [self._rows(text) for text in texts]
        starts = np.cumsum([0, *map(len, rows)])[:-1]
        device = self.table.weight.device
        flat = torch.tensor([row for each in rows for row in each], dtype=torch.int64, device=device)
        return self.table(flat, torch.tensor(starts, dtype=torch.int64, device=device))

    def _rows(self, text: str) -> list[int]:
        words = re.findall(r"\w+", unicodedata.normalize("NFKC", text).lower())
        parts = [f"<{word}>" for word in words]
        for word in parts[:]:
            parts += [
                word[start : start + size]
                for size in range(self.shortest, self.longest + 1)
                for start in range(len(word) - size + 1)
            ]
        return [zlib.crc32(part.encode()) % self.buckets for part in parts]


class OwnEncoder(TextEncoder):
    """An object of the user's own that maps texts to vectors; it is not trained, and not saved.

    Args:
        encode: texts to vectors [N, F]; tried on one text.

    Raises:
        ConfigError: it fails, or gives something else.
    """

    def __init__(self, encode: Encoder):
        super().__init__()
        kind = type(encode) if not hasattr(encode, "__qualname__") else encode
        name = f"{kind.__module__}.{kind.__qualname__}"
        self.encode, self.spec = encode, {"kind": OWN_ENCODER, "name": name}
        try:
            self.dim = self(["a text"]).shape[1]
        except Exception as error:
            raise ConfigError(
                f"text_encoder {name}: must map a list of texts to vectors [N, F]: {error}"
            ) from error

    def forward(self, texts: Sequence[str]) -> Tensor:
        """See `TextEncoder.forward`."""
        with torch.no_grad():
            vectors = torch.as_tensor(self.encode(list(texts))).float()
        if vectors.ndim != 2 or len(vectors) != len(texts):
            raise ValueError(f"it gives {list(vectors.shape)} for {len(texts)} texts")
        return vectors
