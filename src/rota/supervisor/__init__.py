"""The processes of one machine: the supervisor, its children, and a platform that runs for as long as a block."""
