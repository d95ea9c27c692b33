"""Experiments: artifacts, provenance and search of tracked runs."""
