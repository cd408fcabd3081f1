"""Downloads: HTTP, archives, object stores and shards."""
