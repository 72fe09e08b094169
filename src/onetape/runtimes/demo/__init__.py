"""`onetape demo`: an exchange and a node, live in the terminal."""
