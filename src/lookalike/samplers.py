"""Batch samplers, for a training loop of your own.

Each is an iterable of lists of row numbers, for `torch.utils.data.DataLoader(…, batch_sampler=…)`. Call
`set_epoch` before each epoch; without it the same batches are repeated. `state_dict` and `load_state_dict`
allow resuming in the middle of an epoch.
"""

from lookalike.data.samplers import Batches, PerClass, Shuffle

__all__ = ["Batches", "PerClass", "Shuffle"]
