"""Ingestion: rows of files, databases and tables enter the offline store; what is not taken is quarantined."""
