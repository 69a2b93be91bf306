"""Stemma: an inference engine that keeps what it has computed in a tree of prefixes."""
