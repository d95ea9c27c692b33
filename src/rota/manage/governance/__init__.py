"""Governance of models: evidence, risk, review, decision and report (the guide's evaluate, check, release, report)."""
