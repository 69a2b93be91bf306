"""What clients write and what they get back, whatever door they came through: HTTP or the engine in their process."""
