"""Online feature rows in LMDB and in Redis."""
