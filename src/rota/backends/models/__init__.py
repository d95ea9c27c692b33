"""models: say in one line what lives here."""
