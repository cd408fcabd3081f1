"""Pairs of images that may be copies of one photo: by hash, by descriptor, and by a look at small copies."""

import math

import numpy as np
import torch
from torch.nn.functional import max_pool2d

from lookalike.prepare.duplicates.hamming import BITS, hamming_pairs
from lookalike.prepare.duplicates.signatures import Signatures, blocks, descriptors, perceptual_hashes

EXACT = 50_000
"""Images up to which the nearest descriptors are found by comparing all of them."""
NEIGHBOURS = 20
LOWEST_COSINE = 0.88
PROJECTIONS = 3
"""Hashes of random projections, beyond `EXACT` images."""
PRODUCT = 64
"""Sizes of two groups of equal hashes whose product is at most this are paired completely."""
TOLERANCE = 8.0
"""Mean difference, in grey levels, that a shift by a pixel of the small copies does not explain."""


def candidate_pairs(signatures: Signatures, threshold: int, mirrored: bool = False) -> np.ndarray:
    """Pairs of rows that may be copies, int64 [P, 2], each once; blank and unreadable images are in none.

    Args:
        signatures: the images.
        threshold: bits of the 64-bit hash in which copies may differ; the angle of descriptors follows from
            it.
        mirrored: pair each image with the mirror images of others instead; column 1 is the mirrored one.
    """
    rows = np.flatnonzero(signatures.readable & ~signatures.is_blank)
    if len(rows) < 2:
        return np.empty((0, 2), np.int64)
    thumbs = signatures.thumbs[rows]
    hashes, vectors = perceptual_hashes(signatures.grey[rows]), descriptors(thumbs)
    count = len(rows)
    if mirrored:
        hashes = np.concatenate([hashes, perceptual_hashes(signatures.grey[rows][:, :, ::-1])])
        vectors = np.concatenate([vectors, descriptors(thumbs[:, :, ::-1])])
    lowest = lowest_cosine(threshold)
    pairs = np.concatenate([_hash_pairs(hashes, threshold), _near_descriptors(vectors, lowest, threshold)])
    if mirrored:
        pairs = np.sort(pairs, 1)
        pairs = pairs[(pairs[:, 0] < count) & (pairs[:, 1] >= count)] - [0, count]
        pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    pairs = np.unique(np.sort(pairs, 1), axis=0)
    right = vectors[count:] if mirrored else vectors
    close = np.einsum("pd,pd->p", vectors[pairs[:, 0]], right[pairs[:, 1]]) >= min(lowest, LOWEST_COSINE)
    return rows[pairs[close]]


def lowest_cosine(threshold: int) -> float:
    """The cosine of descriptors at which hashes of random projections differ in `threshold` of 64 bits."""
    return (
        max(LOWEST_COSINE, math.cos(math.pi * threshold / BITS)) if threshold < BITS // 2 else LOWEST_COSINE
    )


def _hash_pairs(hashes: np.ndarray, threshold: int) -> np.ndarray:
    """Pairs of rows with close hashes; of many equal ones each is paired with the first only."""
    order = np.argsort(hashes, kind="stable")
    unique, starts, counts = np.unique(hashes[order], return_index=True, return_counts=True)
    matches = hamming_pairs(unique, threshold)
    one = np.concatenate([matches.first, np.flatnonzero(counts > 1)])
    other = np.concatenate([matches.second, np.flatnonzero(counts > 1)])
    many = counts[one] * counts[other] > PRODUCT
    pairs = [
        np.stack([order[starts[one[many]]], order[starts[other[many]]]], 1),
        *_products(order, starts, counts, one[~many], other[~many]),
    ]
    first = order[np.repeat(starts, counts)]
    pairs.append(np.stack([first, order], 1))
    joined = np.concatenate(pairs)
    return joined[joined[:, 0] != joined[:, 1]]


def _products(
    order: np.ndarray, starts: np.ndarray, counts: np.ndarray, one: np.ndarray, other: np.ndarray
) -> list[np.ndarray]:
    """All pairs between the rows of small groups of equal hashes."""
    pairs = []
    for shape in {(int(a), int(b)) for a, b in zip(counts[one], counts[other], strict=True)}:
        these = (counts[one] == shape[0]) & (counts[other] == shape[1])
        left = order[starts[one[these]][:, None] + np.arange(shape[0])]
        right = order[starts[other[these]][:, None] + np.arange(shape[1])]
        both = np.broadcast_arrays(left[:, :, None], right[:, None, :])
        pairs.append(np.stack([side.ravel() for side in both], 1))
    return pairs


def _near_descriptors(vectors: np.ndarray, lowest: float, threshold: int) -> np.ndarray:
    if len(vectors) > EXACT:
        return _near_projections(vectors, threshold)
    units = torch.from_numpy(vectors)
    pairs = [np.empty((0, 2), np.int64)]
    k = min(NEIGHBOURS + 1, len(vectors))
    for part in blocks(len(vectors), 1024):
        cosines, nearest = (units[part] @ units.T).topk(k, dim=1)
        left = np.repeat(np.arange(part.start, part.stop), k)
        right, close = nearest.numpy().ravel(), cosines.numpy().ravel() >= lowest - 1e-6
        keep = close & (left != right)
        pairs.append(np.stack([left[keep], right[keep]], 1))
    return np.concatenate(pairs)


def _near_projections(vectors: np.ndarray, threshold: int) -> np.ndarray:
    """Pairs whose signs of random projections differ in few places, by several sets of projections."""
    generator = np.random.default_rng(0)
    pairs = []
    for _ in range(PROJECTIONS):
        directions = generator.standard_normal((vectors.shape[1], BITS)).astype(np.float32)
        bits = np.concatenate([vectors[part] @ directions > 0 for part in blocks(len(vectors))])
        pairs.append(_hash_pairs(np.packbits(bits, axis=1).view(np.uint64)[:, 0], min(threshold, 12)))
    return np.concatenate(pairs)


def drop_unlike(signatures: Signatures, pairs: np.ndarray, mirrored: bool = False) -> np.ndarray:
    """The pairs whose small copies agree up to a shift by one pixel and a change of brightness, bool [P].

    Quick: it leaves few of the pairs that only have the same outline, and nearly all copies.
    """
    keep = np.empty(len(pairs), bool)
    grey = signatures.grey
    for part in blocks(len(pairs), 4096):
        one = grey[pairs[part, 0]].astype(np.float32)
        other = grey[pairs[part, 1]].astype(np.float32)
        other = np.ascontiguousarray(other[:, :, ::-1]) if mirrored else other
        level = one.mean((1, 2), keepdims=True), other.mean((1, 2), keepdims=True)
        top = np.maximum(*level)
        one, other = (
            values * (top / np.maximum(mean, 1)) for values, mean in zip((one, other), level, strict=True)
        )
        keep[part] = np.maximum(_beyond(one, other), _beyond(other, one)) < TOLERANCE
    return keep


def _beyond(values: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """By how much values leave the range of the 3 × 3 pixels around them in the reference, on average,
    [P].
    """
    around, inner = torch.from_numpy(reference)[:, None], torch.from_numpy(values)[:, None]
    high, low = max_pool2d(around, 3, 1, 1), -max_pool2d(-around, 3, 1, 1)
    return ((inner - high).clamp(min=0) + (low - inner).clamp(min=0)).mean((1, 2, 3)).numpy()
