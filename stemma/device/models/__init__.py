"""One file per family of models; the members differ by data."""
