"""The nouns of Rota: frozen records, one per thing, the same in storage, on the wire and in code."""
