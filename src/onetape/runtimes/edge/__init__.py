"""The edge runtime: one compiled loop a partition, live or fed from a file."""
