"""Embedding models: a backbone, a pooling, a head, and the preprocessing that belongs to them."""
