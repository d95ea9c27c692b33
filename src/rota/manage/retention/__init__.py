"""Retention: what may be removed and when; holds that protect, and the garbage collection that follows lineage."""
