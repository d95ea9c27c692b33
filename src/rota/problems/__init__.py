"""Problem types: what a model of each kind answers, how its labels look, and by which metrics, losses and gates it is judged; one file each."""
