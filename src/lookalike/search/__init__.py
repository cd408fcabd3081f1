"""Search: exact nearest neighbours, the index folder, and from a photo to its hits."""
