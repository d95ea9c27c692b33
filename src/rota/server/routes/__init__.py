"""The HTTP API, one file per process."""
