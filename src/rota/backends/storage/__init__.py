"""Blobs, tables and the journal in directories and S3-compatible buckets."""
