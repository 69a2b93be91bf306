"""Who computes what, next. No tensor, no socket, no clock of its own."""
