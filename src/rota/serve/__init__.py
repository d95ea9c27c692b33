"""Process 5, prediction serving: one prediction path for online, batch and embedded use, and the log it writes."""
