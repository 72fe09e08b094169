"""`onetape doctor`: what this machine can do, a file for each part of it."""
