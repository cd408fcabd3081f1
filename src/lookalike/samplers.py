"""Samplers: which images form a batch, for a training loop of your own.

Each is an iterable of lists of row numbers, to be given to `torch.utils.data.DataLoader` as `batch_sampler=`.
Call `set_epoch` before each epoch; without it the same batches come again. `state_dict` and
`load_state_dict` let a run go on in the middle of an epoch.
"""

from lookalike.data.samplers import Batches, PerClass, Shuffle

__all__ = ["Batches", "PerClass", "Shuffle"]
