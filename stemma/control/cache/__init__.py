"""Which page holds which prefix."""
