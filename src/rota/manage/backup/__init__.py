"""Backups: the state of a running platform at one moment, kept elsewhere, verified there and restored from there."""
