"""Copies of one photo in a dataset: hashes, exact and near duplicates, and groups of them."""
