"""`onetape verify`: the same answer, whichever way it is run."""
