"""What a dataset is, and how its pictures reach a model."""
