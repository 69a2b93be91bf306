"""The nouns: frozen structs that cross processes; no behaviour beyond validation."""
