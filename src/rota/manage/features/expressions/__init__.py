"""Expressions: SQL scalar text compiled into a Polars expression (offline) and a Python function (online), proved equal."""
