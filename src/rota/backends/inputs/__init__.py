"""Files and databases of other people, read only."""
