"""Process 4, model deployment: rollouts from shadow through canary to promotion or rollback, and the judge between the steps."""
