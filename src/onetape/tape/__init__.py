"""The tape: the append-only journal of frames of one partition, and what recovers from it."""
