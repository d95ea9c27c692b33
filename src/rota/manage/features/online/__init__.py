"""Online: the layout of stored feature rows and window tiles, and the read path over them."""
