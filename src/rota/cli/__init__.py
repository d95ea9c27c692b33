"""The command line: `rota NOUN VERB`, grouped by the seven processes of the guide."""
