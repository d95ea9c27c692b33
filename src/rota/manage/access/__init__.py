"""Access: tokens, roles, and the view of one project."""
