"""Commands. The only room that may import inside functions, so that each command loads what it needs."""
