"""Device memory of the cache."""
