"""Numbers in, numbers out, no I/O: metrics, distances, drift and sequential tests, schema inference; each formula cites its source."""
