"""Where a training run can be followed besides its own folder: one file a tracker. None by default."""
