"""The feature repository: one definition of a feature, computed alike for training (offline) and for serving (online)."""
