"""The one path that every endpoint takes, and the near end of an engine."""
