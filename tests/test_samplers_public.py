"""Samplers are public, and work with torch's DataLoader."""

import torch
from torch.utils.data import DataLoader, TensorDataset

import lookalike
from lookalike.data import samplers as private


def test_public_samplers_are_those_that_training_uses():
    assert set(lookalike.samplers.__all__) == {"Batches", "PerClass", "Shuffle"}
    assert all(
        getattr(lookalike.samplers, name) is getattr(private, name) for name in lookalike.samplers.__all__
    )


def test_they_are_batch_samplers_of_a_data_loader():
    labels = torch.arange(4).repeat_interleave(3)
    batches = lookalike.samplers.PerClass(labels, classes_per_batch=2, samples_per_class=3)
    seen = [rows for (rows,) in DataLoader(TensorDataset(labels), batch_sampler=batches)]
    assert [sorted(rows.bincount(minlength=4).tolist()) for rows in seen] == [[0, 0, 3, 3]] * 2
