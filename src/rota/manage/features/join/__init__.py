"""Point-in-time join: feature values as they were at each row's time, over raw or sorted history."""
