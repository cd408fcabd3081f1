"""Search: an index of images or vectors, and from a photo to its nearest matches."""
