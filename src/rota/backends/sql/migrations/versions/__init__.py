"""The steps, oldest first. A step that was released never changes, so it names tables and columns itself and imports no records."""
