"""Metadata, runs and tracking on SQLite and PostgreSQL."""
