"""Lineage: the graph of causes and effects in both directions, executions, notes, and the audit log."""
