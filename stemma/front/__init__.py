"""HTTP and text: what stands between people and the engine. No torch."""
