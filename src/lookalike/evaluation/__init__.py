"""Evaluation: metrics with intervals under a protocol, PCA, query expansion, re-ranking and the operating
point.
"""
