"""Model formats, one file per framework."""
