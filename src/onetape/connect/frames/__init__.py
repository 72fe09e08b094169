"""A stranger's table as a source: opened, its columns converted, checked, merged by event time."""
