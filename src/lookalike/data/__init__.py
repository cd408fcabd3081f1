"""Datasets, and loading images for a model."""
