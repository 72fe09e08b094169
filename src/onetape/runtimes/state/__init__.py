"""State as it was at any offset or time, as tables."""
