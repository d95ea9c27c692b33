"""Adoption: models, baselines and prediction logs made elsewhere become Rota's own."""
