"""Signals: the prediction log, labels, business outcomes and alerts."""
