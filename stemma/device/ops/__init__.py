"""Kernels: one name, one reference in plain torch, room for faster bodies."""
