"""memory: say in one line what lives here."""
