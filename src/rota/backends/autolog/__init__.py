"""Fits of a library log themselves."""
