"""A map of embeddings to look at, and to correct a dataset with."""
