"""Losses: `loss(embeddings [B, D], labels [B]) -> scalar`, on raw embeddings."""

from lookalike.losses._base import Miner, PairLoss, ProxyLoss, cosine, mean_over
from lookalike.losses._margin_head import MarginHead, MarginOptions
from lookalike.losses.adacos import AdaCos
from lookalike.losses.adaface import AdaFace
from lookalike.losses.angular import Angular
from lookalike.losses.arcface import ArcFace
from lookalike.losses.binomial_deviance import BinomialDeviance
from lookalike.losses.center_orthogonality import CenterOrthogonality
from lookalike.losses.circle import Circle
from lookalike.losses.combined_margin import CombinedMargin
from lookalike.losses.contrastive import Contrastive
from lookalike.losses.cosface import CosFace
from lookalike.losses.cross_batch_memory import CrossBatchMemory
from lookalike.losses.curricularface import CurricularFace
from lookalike.losses.distillation import Distillation
from lookalike.losses.dynamic_soft_margin import DynamicSoftMargin
from lookalike.losses.elastic_arcface import ElasticArcFace
from lookalike.losses.elastic_cosface import ElasticCosFace
from lookalike.losses.embedding_norm import EmbeddingNorm
from lookalike.losses.fast_ap import FastAP
from lookalike.losses.gor import GOR
from lookalike.losses.histogram import Histogram
from lookalike.losses.instance import Instance
from lookalike.losses.intra_pair_variance import IntraPairVariance
from lookalike.losses.koleo import KoLeo
from lookalike.losses.large_margin_softmax import LargeMarginSoftmax
from lookalike.losses.lifted_structure import LiftedStructure
from lookalike.losses.lifted_structure_original import LiftedStructureOriginal
from lookalike.losses.magface import MagFace
from lookalike.losses.manifold import Manifold
from lookalike.losses.margin import Margin
from lookalike.losses.matryoshka import Matryoshka
from lookalike.losses.modifiers import Terms
from lookalike.losses.multi_similarity import MultiSimilarity
from lookalike.losses.n_pairs import NPairs
from lookalike.losses.nca import NCA
from lookalike.losses.normalized_softmax import NormalizedSoftmax
from lookalike.losses.nt_xent import NTXent
from lookalike.losses.p2s_grad import P2SGrad
from lookalike.losses.pair_bce import PairBCE
from lookalike.losses.pnp import PNP
from lookalike.losses.proxy_anchor import ProxyAnchor
from lookalike.losses.proxy_circle import ProxyCircle
from lookalike.losses.proxy_nca import ProxyNCA
from lookalike.losses.proxy_nca_pp import ProxyNCApp
from lookalike.losses.ranked_list import RankedList
from lookalike.losses.recall_at_k import RecallAtK
from lookalike.losses.sampled import SampledClasses
from lookalike.losses.sharded import ShardedClasses
from lookalike.losses.sigmoid import Sigmoid
from lookalike.losses.smooth_ap import SmoothAP
from lookalike.losses.snr_contrastive import SNRContrastive
from lookalike.losses.soft_triple import SoftTriple
from lookalike.losses.softmax import Softmax
from lookalike.losses.sphereface import SphereFace
from lookalike.losses.sphereface2 import SphereFace2
from lookalike.losses.sub_center_arcface import SubCenterArcFace
from lookalike.losses.sup_con import SupCon
from lookalike.losses.threshold_consistent_margin import ThresholdConsistentMargin
from lookalike.losses.triplet import Triplet
from lookalike.losses.tuplet_margin import TupletMargin
from lookalike.losses.uniface import UniFace
from lookalike.losses.uniformity import Uniformity
from lookalike.losses.vicreg import VICReg

__all__ = [
    "GOR",
    "NCA",
    "PNP",
    "AdaCos",
    "AdaFace",
    "Angular",
    "ArcFace",
    "BinomialDeviance",
    "CenterOrthogonality",
    "Circle",
    "CombinedMargin",
    "Contrastive",
    "CosFace",
    "CrossBatchMemory",
    "CurricularFace",
    "Distillation",
    "DynamicSoftMargin",
    "ElasticArcFace",
    "ElasticCosFace",
    "EmbeddingNorm",
    "FastAP",
    "Histogram",
    "Instance",
    "IntraPairVariance",
    "KoLeo",
    "LargeMarginSoftmax",
    "LiftedStructure",
    "LiftedStructureOriginal",
    "MagFace",
    "Manifold",
    "Margin",
    "MarginHead",
    "MarginOptions",
    "Matryoshka",
    "Miner",
    "MultiSimilarity",
    "NPairs",
    "NTXent",
    "NormalizedSoftmax",
    "P2SGrad",
    "PairBCE",
    "PairLoss",
    "ProxyAnchor",
    "ProxyCircle",
    "ProxyLoss",
    "ProxyNCA",
    "ProxyNCApp",
    "RankedList",
    "RecallAtK",
    "SNRContrastive",
    "SampledClasses",
    "ShardedClasses",
    "Sigmoid",
    "SmoothAP",
    "SoftTriple",
    "Softmax",
    "SphereFace",
    "SphereFace2",
    "SubCenterArcFace",
    "SupCon",
    "Terms",
    "ThresholdConsistentMargin",
    "Triplet",
    "TupletMargin",
    "UniFace",
    "Uniformity",
    "VICReg",
    "cosine",
    "mean_over",
]
