"""Process 2, training operationalization: a project becomes an immutable release that is deployed to an environment."""
