"""NASDAQ TotalView-ITCH 5.0. `spec.py` is the table of all messages; begin there."""
