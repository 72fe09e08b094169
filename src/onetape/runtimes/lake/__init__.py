"""Days of a lake: written, run over on all cores, computed anew."""
