"""How a pipeline is run: batch, edge, replay, verify, and the commands around them."""
