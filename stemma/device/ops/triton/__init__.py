"""Bodies in Triton, for GPUs: a file for each op, its kernel and what launches it."""
