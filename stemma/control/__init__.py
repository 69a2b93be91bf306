"""The mind: who computes what next, and which page holds which prefix. Integers only, no torch."""
