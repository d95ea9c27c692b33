"""Rows: one coercion of values for every way in, and readers and adapters of files, tables and frames."""
