"""Process 3, continuous training: triggers, the standard pipeline as a durable run, and the two gates."""
