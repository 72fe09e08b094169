"""Files, tables and sockets: what comes in, and where rows go."""
