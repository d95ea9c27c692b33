"""Who may call the control plane: permissions of routes, the guard before them, and tokens."""
