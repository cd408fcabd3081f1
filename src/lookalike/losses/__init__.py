"""Losses: `loss(embeddings [B, D], labels [B]) -> scalar`, on raw embeddings."""

from lookalike.losses._base import Miner, PairLoss, ProxyLoss, cosine, mean_over
from lookalike.losses.arcface import ArcFace
from lookalike.losses.contrastive import Contrastive
from lookalike.losses.gor import GOR
from lookalike.losses.modifiers import Terms
from lookalike.losses.multi_similarity import MultiSimilarity
from lookalike.losses.normalized_softmax import NormalizedSoftmax
from lookalike.losses.proxy_anchor import ProxyAnchor
from lookalike.losses.triplet import Triplet

__all__ = [
    "GOR",
    "ArcFace",
    "Contrastive",
    "Miner",
    "MultiSimilarity",
    "NormalizedSoftmax",
    "PairLoss",
    "ProxyAnchor",
    "ProxyLoss",
    "Terms",
    "Triplet",
    "cosine",
    "mean_over",
]
