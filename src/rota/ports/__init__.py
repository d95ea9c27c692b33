"""What Rota asks of an engine: Protocols of few verbs, whose docstrings are the law that `rota.testing` checks."""
