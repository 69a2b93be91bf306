"""Tools without opinions; standard library only."""
