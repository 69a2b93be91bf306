"""Where programs may run."""
