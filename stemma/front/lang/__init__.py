"""The frontend language: programs that generate, choose, fork and join."""
