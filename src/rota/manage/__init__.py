"""Process 7, dataset, feature and model management: the repositories in which the other six processes meet."""
