"""Materialization: rows and window tiles reach the online store, from pushes and from history, exactly once."""
