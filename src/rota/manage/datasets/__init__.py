"""Datasets: definitions built into immutable versions; splits, profiles, schemas, statistics."""
