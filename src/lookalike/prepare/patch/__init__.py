"""Patches: changes of labels and rows, applied to a dataset."""
